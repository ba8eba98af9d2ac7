--- Runs the specs inside afar: `build/afar spec/run.lua [PATTERN...]`. Without patterns, all of spec/**/*_spec.lua; else those
--- whose path has one of the patterns in it. A spec may make remote calls: it runs as part of the script. With VERBOSE=1 each
--- test is named before it runs, which tells where a run hangs.

package.path = "./?.lua;" .. package.path

local lfs = require "lfs"
local handler = require "spec.support.handler"
local leaks = require "spec.support.leaks"

local function find_specs(dir, found)
  for name in lfs.dir(dir) do
    local path = dir .. "/" .. name
    local mode = lfs.attributes(path, "mode")
    if mode == "directory" and name:sub(1, 1) ~= "." then
      find_specs(path, found)
    elseif mode == "file" and name:find "_spec%.lua$" then
      found[#found + 1] = path
    end
  end
  return found
end

local function wanted(path, patterns)
  if #patterns == 0 then return true end
  for _, pattern in ipairs(patterns) do
    if path:find(pattern, 1, true) or path:find(pattern) then return true end
  end
  return false
end

local function choose(patterns)
  local chosen = {}
  for _, path in ipairs(find_specs("spec", {})) do
    if wanted(path, patterns) then chosen[#chosen + 1] = path end
  end
  table.sort(chosen)
  return chosen
end

--- busted without its command line. Modules stay loaded from file to file: there is one event loop in a program, and one scheduler. So
--- busted.luajit isn't needed, which would give every ffi.typeof("$[4]", type) the type of the first.
local function make_busted()
  local busted = require "busted.core"()
  require "busted"(busted)
  busted.register("file", "file", {})
  busted.hide "file"
  return busted
end

--- This machine's root stays from its first use on, and so do the sockets that it keeps ready for new processes, and the sibling that makes
--- its blocking calls: they are no leak of the spec that happens to be the first.
local function wake_root()
  local ok, afar = pcall(require, "afar")
  if not ok then return end
  afar.here:run { "true" }
  afar.here:nanosleep(afar.here:ptr(("\0"):rep(16)), 0)
end

local function run(patterns)
  local files = choose(patterns)
  local busted = make_busted()
  leaks.prepare()
  wake_root()
  local report = handler.new(busted, leaks)
  if #files == 0 then report:failed("spec/run.lua", "no spec's path has " .. table.concat(patterns, " or ") .. " in it") end
  local load = require "busted.modules.test_file_loader"(busted, { "lua" })
  if #files > 0 then load(files, {}, { excludes = {} }) end
  require "busted.execute"(busted)(1, {})
  return report:finish()
end

os.exit(run { ... } and 0 or 1, true)
