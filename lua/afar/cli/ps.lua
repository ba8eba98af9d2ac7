--- afar ps [HOST]: the user's persistent processes in their directory, what each keeps, and since when. Nobody loses one by it: what a host
--- holds is only said to be held.

local afar = require "afar"
local anchor = require "afar.anchor"
local errors = require "afar.error"
local persistent = require "afar.persistent"
local session = require "afar.session"
local visible = require "afar.visible"

local ps = { usage = "afar ps [HOST]", least = 0, most = 1 }

local ENTRY = "  %-20s %s"
local PATIENCE = 2 -- seconds

local function describe(raw)
  if raw.kind == "child" then return ("child %d (%s)"):format(raw.pid, table.concat(raw.argv, " "):sub(1, 60)) end
  if raw.kind == "fd" then return ("fd %d (%s)"):format(raw.number, raw.fd_kind or raw.type) end
  return raw.kind
end

--- What a process and its hosts say of themselves may be anything.
local function say(format, ...) print(visible(format:format(...))) end

local function show(root, path)
  local ok, welcome, pid = pcall(session.look, root, path, PATIENCE)
  if not ok then return say("%s: %s", path, errors.is(welcome) and welcome.message or tostring(welcome)) end
  local kept
  ok, kept = pcall(anchor.peek, root, pid, welcome.anchor)
  if not ok then return say("%s: process %d; what it keeps can't be read: %s", path, pid, tostring(kept)) end
  local since = kept and kept.facts.since and os.date("%Y-%m-%d %H:%M:%S", kept.facts.since) or "?"
  local host = welcome.name ~= "" and (", last held by " .. welcome.name) or ""
  say("%s: process %d, since %s%s", path, pid, since, host)
  local names = {}
  for name in pairs(kept and kept.entries or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do say(ENTRY, name, describe(kept.entries[name])) end
end

---@param host? string as ssh understands it
function ps.run(host)
  local root = host and afar.here:ssh(host) or afar.here
  local directory = persistent.directory(root)
  local ok, names = pcall(root.listdir, root, directory)
  if not ok and errors.is(names, "ENOENT") then return end
  if not ok then error(names, 0) end
  for _, name in ipairs(names) do
    local path = directory .. "/" .. name
    local found, stat = pcall(root.lstat, root, path)
    if found and stat.type == "socket" then show(root, path) end
  end
end

return ps
