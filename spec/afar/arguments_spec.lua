-- Slips in a call's arguments are told before anything is done, each in one line that says which and what was meant.

local afar = require "afar"
local message = require("spec.support.raised").message

local p = afar.here

--- The text, without the script's own line before it.
local function told(f, ...) return (message(f, ...):gsub("^spec/afar/arguments_spec%.lua:%d+: ", "")) end

local function run(spec)
  return (told(p.run, p, spec):gsub("^run%(%) in process %d+ on here: ", ""))
end

describe("a slip in the arguments", function()
  it("of a command is told", function()
    assert.equal("argument 2 is nil, not a string", run { "ls", nil, "x" })
    assert.equal("argument 3 is a boolean, not a string", run { "ls", 5, true })
    assert.equal('env is a table, { NAME = "value" }, not string', run { "ls", env = "A=1" })
    assert.equal('env: 1 is no name of a variable; { NAME = "value" }', run { "ls", env = { "A=1" } })
    assert.equal('env: "A=B" is no name of a variable; { NAME = "value" }', run { "ls", env = { ["A=B"] = "1" } })
    assert.equal("env: A is a table, not a string, or false", run { "ls", env = { A = {} } })
    assert.equal("env: A has a NUL byte in it", run { "ls", env = { A = "a\0b" } })
    assert.equal('ignore: there is no constant "SIGFOO" (did you mean "SIGFPE"?)', run { "ls", ignore = "SIGFOO" })
    assert.equal("exec: a string was expected, not number", run { "ls", cwd = 5 })
    assert.equal("run: timeout is a number of seconds, not string", run { "ls", timeout = "1" })
  end)

  it("is told with the argument that is wrong", function()
    local err = select(2, pcall(p.run, p, { "ls", cwd = "/no/such" }))
    assert.same({ "chdir", "/no/such" }, { err.call, err.args[1] })
    local user = p:clone "CLONE_NEWUSER|CLONE_NEWNS"
    user:mount("none", "/", nil, "MS_REC|MS_PRIVATE")
    user:mount("tmpfs", "/dev", "tmpfs")
    err = select(2, pcall(user.run, user, { "/bin/ls" }))
    assert.same({ "openat", "/dev/null" }, { err.call, err.args[1] })
    user:exit(0)
  end)

  it("of permissions is told: a number is not octal", function()
    assert.equal('chmod: the number 755 is 01363, not 0755: permissions are octal digits in quotes, "0755"', told(p.chmod, p, "/no", 755))
    assert.matches("^write_file: the number 644 is 01204, not 0644", told(p.write_file, p, "/no/x", "", { mode = 644 }))
    assert.matches("%(ENOENT%)$", told(p.chmod, p, "/no/such", 420))
    assert.matches("%(ENOENT%)$", told(p.chmod, p, "/no/such", 1023))
    assert.matches("%(ENOENT%)$", told(p.chmod, p, "/no/such", "755"))
  end)

  it("of a user is told: a name is not a number", function()
    local child = p:fork()
    assert.equal('chown: a number was expected, not "nobody"; p:getpwnam("nobody").pw_uid has it', told(child.chown, child, "/no", "nobody"))
    assert.matches('%): uid is a number there, not "nobody"; p:getpwnam', (told(child.setuid, child, "nobody"):gsub(" in process .-:", ":")))
    assert.equal(p:getuid(), child:getuid())
    child:exit(0)
  end)

  it("of what waits is told", function()
    assert.equal("sleep: a number of seconds was expected, not nil", told(afar.sleep))
    assert.equal("timeout: a number of seconds was expected, not function", told(afar.timeout, print))
    assert.equal("nursery: a function was expected, not nil", told(afar.nursery))
  end)

  it("of a type is told", function()
    assert.matches('^there is no type "utsnam" %(did you mean "utsname"%?%): ', told(p.malloc, p, "utsnam"))
  end)
end)

describe("an umask of a program", function()
  it("is octal, as that of a process", function()
    assert.equal("0027\n", p:run({ "sh", "-c", "umask", umask = "027" }).stdout)
  end)
end)

describe("what a program said last", function()
  local function said(script) return (tostring(select(2, pcall(p.run, p, { "sh", "-c", script .. "; false" }))):match "it said: (.*)$") end

  it("is shown as some whole lines, or the end of one", function()
    assert.equal("one", said "echo one >&2")
    assert.equal("... 96\\n97\\n98\\n99\\n100", said "seq 100 >&2")
    assert.equal("... " .. ("x"):rep(500), said "head -c 3000 /dev/zero | tr '\\0' x >&2")
    assert.equal("... last", said "head -c 3000 /dev/zero | tr '\\0' x >&2; echo >&2; echo last >&2")
  end)
end)

describe("users and groups", function()
  it("are found by name", function()
    local root = p:getpwnam "root"
    assert.same({ "root", 0, 0, "/root" }, { root.pw_name, root.pw_uid, root.pw_gid, root.pw_dir })
    assert.is_string(root.pw_shell)
    local group = p:getgrnam "root"
    assert.same({ "root", 0 }, { group.gr_name, group.gr_gid })
    assert.is_table(group.gr_mem)
  end)

  it("that aren't there are told", function()
    assert.matches('^getpwnam%("no%-such"%) in process %d+ on here: there is no such name on here$', told(p.getpwnam, p, "no-such"))
    assert.equal("ENOENT", select(2, pcall(p.getgrnam, p, "no-such")).name)
    assert.equal('getgrnam: a name was expected, not "a:b"', told(p.getgrnam, p, "a:b"))
  end)
end)
