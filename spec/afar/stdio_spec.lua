-- Where the standard fds of far programs end: in the host's.

local afar = require "afar"
local loop = require "afar.loop"

local here = afar.here
local HOST = os.getenv "AFAR" or "build/afar"

--- What a host writes when it runs a script: its result has stdout and stderr. Its stdin has something that nobody far away may read.
local function run(text, options)
  local spec = { HOST, "-e", "local afar = require 'afar'; local function open(name) return afar.here:bootstrap { 'sh', name = name } end; " .. text }
  spec.stdin = "stdin of the host\n"
  for key, value in pairs(options or {}) do
    spec[key] = value
  end
  return here:run(spec)
end

describe("the standard fds of far programs", function()
  it("are the host's, as they are, for one machine", function()
    local result = run [[
      local far = open "one"
      print "before"
      far:fork():exec({ "sh", "-c", "echo out; echo err >&2; printf 'no newline'" }):check() ]]
    assert.equal("before\nout\nno newline", result.stdout)
    assert.equal("err\n", result.stderr)
  end)

  it("are prefixed with the machine's name, line by line, for several", function()
    local result = run [[
      local one, two = open "one", open "two"
      one:fork():exec({ "sh", "-c", "printf 'a\nb'; sleep 0.1; echo c" }):check()
      two:fork():exec({ "sh", "-c", "echo d; echo e >&2; printf f" }):check() ]]
    local lines = {}
    for line in result.stdout:gmatch "[^\n]*\n" do
      lines[#lines + 1] = line
    end
    table.sort(lines)
    assert.same({ "one: a\n", "one: bc\n", "two: d\n", "two: f\n" }, lines)
    assert.equal("two: e\n", result.stderr)
  end)

  it("bring all, however much, before the host ends", function()
    local result = run [[
      local far = open "one"
      far:fork():exec({ "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2" }):check() ]]
    assert.equal(3000000, #result.stdout)
    assert.equal("end\n", result.stderr)
  end)

  it("bring what was written before a machine was left", function()
    local result = run [[
      local far = open "one"
      far:fork():exec({ "echo", "from far" }):check()
      far:disconnect()
      print "after" ]]
    assert.equal("from far\nafter\n", result.stdout)
  end)

  it("have nothing to read", function()
    local result = run [[
      local far = open "one"
      io.write("far: ", far:run({ "cat" }).stdout, far:read(0), "\n")
      far:fork():exec({ "sh", "-c", "cat; echo cat has ended" }):check()
      far:disconnect() -- brings what is under way
      io.write("here: ", io.read "*a") ]]
    assert.equal("far: \ncat has ended\nhere: stdin of the host\n", result.stdout)
  end)

  it("are not waited for when somebody far away keeps them", function()
    local start = loop.monotonic()
    local result = run [[
      local far = open "one"
      far:fork():exec({ "sh", "-c", "sleep 60 & echo started; echo $! >&2" }):check() ]]
    assert.equal("started\n", result.stdout)
    assert.is_true(loop.monotonic() - start < 50)
    here:kill(tonumber(result.stderr), "SIGKILL")
  end)

  it("of this machine are the host's own", function()
    local result = run [[
      local p = afar.here:fork()
      p:exec({ "sh", "-c", "echo out; echo err >&2; cat" }):check() ]]
    assert.equal("out\nstdin of the host\n", result.stdout)
    assert.equal("err\n", result.stderr)
  end)

  it("end when the host's have ended", function()
    local result = run([[
      local far = open "one"
      local status = far:fork():exec({ "sh", "-c", "yes | head -c 10000000" }):wait()
      io.stderr:write("still here\n") ]], { stdout = "null" })
    assert.equal("still here\n", result.stderr)
  end)
end)
