-- The documentation is true: each ```lua block of README.md and doc/*.md is run and prints what its comments say, and every method is in the guide.
--
-- The blocks of one section (a "## " heading) are one program, in which `afar` is there, and `p`, a process. What is printed is in comments:
-- `print(1 + 1) --> 2`, one for each line, in their order; "..." stands for anything. A block is only compiled where the line before it is
-- `<!-- not run: REASON -->`. Hosts are those of HOSTS, behind a throwaway sshd.

local afar = require "afar"
local fds = require "afar.fd"
local lfs = require "lfs"
local pointer = require "afar.pointer"
local process = require "afar.process"
local children = require "afar.child"
local sshd = require "spec.support.sshd"

local HOSTS = "web1 web2 web3 db1"
local PRELUDE = 'local afar = require "afar"; local p = afar.here:fork()'

local program = os.getenv "AFAR" or "build/afar"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function documents()
  local found = { "README.md" }
  for name in lfs.dir "doc" do
    if name:find "%.md$" then found[#found + 1] = "doc/" .. name end
  end
  table.sort(found)
  return found
end

--- The sections of a document that have Lua in them: { title =, lines = { number -> code }, expected = { ... } }; and all its blocks as { first line, text }.
local function parse(text)
  local sections, blocks = {}, {}
  local section, block, last, skipped, number
  number = 0
  for line in text:gmatch "([^\n]*)\n" do
    number = number + 1
    if block and line:find "^```" then
      block = nil
    elseif block then
      block.text = block.text .. line .. "\n"
      if not skipped then
        section.lines[number], section.last = line, number
        local expected = line:match "%-%->%s*(.-)%s*$"
        if expected then table.insert(section.expected, expected) end
      end
    elseif line == "```lua" then
      block = { first = number, text = "" }
      blocks[#blocks + 1] = block
      skipped = last:find "^<!%-%- not run: .+ %-%->$" ~= nil
    elseif line:find "^## " then
      section = { title = line:sub(4), lines = {}, expected = {} }
      sections[#sections + 1] = section
    end
    last = line
  end
  return sections, blocks
end

--- The section as a program: its lines are where they are in the document.
local function source(section)
  local lines = {}
  for i = 1, section.last do lines[i] = section.lines[i] or "" end
  lines[1] = PRELUDE
  return table.concat(lines, "\n") .. "\n"
end

local function fits(line, expected)
  local pattern = expected:gsub("%p", "%%%0"):gsub("%%%.%%%.%%%.", ".*")
  return line:find("^" .. pattern .. "$") ~= nil
end

local function check_output(section, out)
  local i = 0
  for line in out:gmatch "([^\n]*)\n" do
    i = i + 1
    local expected = section.expected[i]
    assert(expected, ("it prints a line more than is said: %s"):format(line))
    line = line:gsub("\t", " ")
    assert(fits(line, expected), ("it prints  %s\nnot        %s"):format(line, expected))
  end
  assert(i == #section.expected, ("it does not print: %s"):format(section.expected[i + 1]))
end

describe("the blocks of", function()
  local server, dir

  setup(function()
    server = sshd.start(1)
    dir = server.parent
    write(dir .. "/config", (read(server.config):gsub("Host afar1\n", "Host " .. HOSTS .. "\n")))
    write(dir .. "/ssh", ('#!/bin/sh\nexec %s -F %s/config "$@"\n'):format(afar.here:which "ssh", dir))
    os.execute("chmod 755 " .. dir .. "/ssh")
  end)
  teardown(function() server:stop() end)

  local function run(path, section)
    local file = dir .. "/" .. path:gsub("/", "-")
    write(file, source(section))
    local env = { PATH = dir .. ":" .. os.getenv "PATH" }
    local result = afar.here:run { program, file, env = env, check = false, timeout = 240 }
    assert(result.status.ok and result.stderr == "", tostring(result.status) .. "\n" .. result.stderr)
    check_output(section, result.stdout)
  end

  for _, path in ipairs(documents()) do
    local sections, blocks = parse(read(path))
    for _, section in ipairs(sections) do
      if section.last then
        it(("%s, %s: do what they say"):format(path, section.title), function() run(path, section) end)
      end
    end
    for _, block in ipairs(blocks) do
      it(("%s, line %d: are Lua"):format(path, block.first), function() assert(loadstring(block.text, "=" .. path)) end)
    end
  end

  it("a document are told from its text, and what they print is compared", function()
    local sections, blocks = parse "## A\n```lua\nprint(1) --> 1\n```\n<!-- not run: root -->\n```lua\nx()\n```\n```sh\nls\n```\n"
    assert.equal(2, #blocks)
    assert.equal(PRELUDE .. "\n\nprint(1) --> 1\n", source(sections[1]))
    assert.has_no_error(function() check_output(sections[1], "1\n") end)
    for _, out in ipairs { "", "2\n", "1\n1\n" } do
      assert.has_error(function() check_output(sections[1], out) end)
    end
    assert.is_true(fits("process 12 on here", "process ... on here"))
    assert.is_false(fits("process 12 on here", "process ... on there"))
  end)
end)

describe("doc/guide.md", function()
  local guide = read "doc/guide.md"

  local function names(what, list)
    local missing = {}
    for _, name in ipairs(list) do
      if not (guide .. " "):find(what .. name .. "%f[^%w_]") then missing[#missing + 1] = name end
    end
    assert.equal("", table.concat(missing, " "))
  end

  local function public(t)
    local list = {}
    for name, value in pairs(t) do
      if type(value) == "function" and not name:find "^__" and name ~= "near" then list[#list + 1] = name end
    end
    return list
  end

  it("has every method of a process", function() names("[pfdr]:", process.methods()) end)
  it("has every method of an fd", function() names("fd:", fds.methods()) end)
  it("has every method of a pointer", function() names("ptr:", public(pointer.Pointer)) end)
  it("has every method of a child", function() names("child:", public(children.Child)) end)
  it("has all that the library itself has", function()
    local list = public(afar)
    list[#list + 1] = "here"
    names("afar%.", list)
  end)
end)
