-- Other users on the same machine: sudo, su, doas, setpriv, with real users and passwords.

local afar = require "afar"
local house = require "spec.support.house"

local missing = house.missing()

local PASSWORD = ("open sesame %d"):format(afar.here.pid) -- nobody else's

describe("another user", function()
  local root, alice

  if missing then return pending(missing) end

  setup(function()
    root = house.new()
    house.add_user(root, "alice", PASSWORD)
    house.add_user(root, "bob", "builder")
    root:write_file("/etc/sudoers", "Defaults timestamp_timeout=0\nroot ALL=(ALL) SETENV: ALL\nalice ALL=(ALL) ALL\n", { mode = 288 })
    root:write_file("/etc/doas.conf", "permit alice\npermit nopass root\n", { mode = 256 })
    alice = root:su "alice"
  end)
  teardown(function()
    alice:disconnect()
    root:disconnect()
  end)

  local function with(far, f)
    local result = f(far)
    far:disconnect()
    return result
  end

  local function who(far)
    return with(far, function() return (far:run({ "id", "-un" }).stdout:gsub("\n$", "")) end)
  end

  local failure = require("spec.support.raised").named

  describe("by sudo", function()
    it("needs no password as root", function() assert.equal("alice", who(root:sudo "alice")) end)

    it("asks a function for the password, until it is right", function()
      local asked = {}
      local far = alice:sudo("root", {
        password = function(question, before)
          asked[#asked + 1] = question
          return before == 0 and "wrong" or PASSWORD
        end,
      })
      assert.equal("root", who(far))
      assert.same({ "[sudo] password on alice@house, to become root: ", "[sudo] password on alice@house, to become root: " }, asked)
    end)

    it("doesn't count the time in which somebody is asked", function()
      local function answer()
        afar.sleep(8.5)
        return PASSWORD
      end
      afar.nursery(function(n)
        for _, way in ipairs { "sudo", "doas" } do
          n:spawn(function() assert.equal("root", who(alice[way](alice, "root", { timeout = 8, password = answer }))) end)
        end
      end)
    end)

    it("has the password in nobody's arguments or environment", function()
      local far = alice:sudo("bob", { password = PASSWORD })
      local seen = root:run({ "sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null", check = false }).stdout
      assert.is_nil(seen:find(PASSWORD, 1, true))
      assert.is_truthy(seen:find("sudo", 1, true))
      assert.equal("bob", who(far))
    end)

    it("gives up when the function does", function()
      local name, message = failure(alice.sudo, alice, "root", { password = function() end })
      assert.equal("denied", name)
      assert.matches("no password was given", message)
    end)

    it("raises what the function raises", function()
      local ok, err = pcall(alice.sudo, alice, "root", { password = function() error("not today", 0) end })
      assert.is_false(ok)
      assert.equal("not today", err)
    end)

    it("says that the password is wrong", function()
      local name, message = failure(alice.sudo, alice, "root", { password = function() return "x" end })
      assert.equal("denied", name)
      assert.matches("3 incorrect password attempts", message)
    end)

    it("says who may not", function()
      local bob = alice:su("bob", { password = "builder" })
      local name, message = failure(bob.sudo, bob, "root", { password = "builder" })
      assert.equal("not_allowed", name)
      assert.matches("bob is not in the sudoers file", message)
      bob:disconnect()
    end)

    it("says that there is no such user", function()
      local name, message = failure(root.sudo, root, "nobody-of-that-name")
      assert.equal("unknown_user", name)
      assert.matches("no such user %(sudo: unknown user", message)
    end)

    it("works where sudo puts a pseudoterminal between", function()
      root:write_file("/etc/sudoers.d/pty", "Defaults use_pty\n", { mode = 288 })
      local old = root:read_file "/etc/sudoers"
      root:write_file("/etc/sudoers", old .. "@includedir /etc/sudoers.d\n", { mode = 288 })
      local far = alice:sudo("root", { password = PASSWORD })
      local bytes = ("\0\1\2\3\4\10\13\26\27\28\29\29\29\127\255"):rep(2000)
      assert.equal(bytes, with(far, function() return far:run({ "cat", stdin = bytes }).stdout end))
      root:write_file("/etc/sudoers", old, { mode = 288 })
    end)

    it("keeps what it is told to of the environment, or makes it a login", function()
      local env = { LEFT = "over" }
      assert.equal("over", with(root:sudo("alice", { env = env, preserve_env = { "LEFT" } }), function(p) return p.environ.LEFT end))
      assert.equal("/home/alice", with(root:sudo("alice", { login = true }), function(p) return p:run({ "pwd" }).stdout:sub(1, -2) end))
    end)
  end)

  describe("by su", function()
    it("needs no password as root", function() assert.equal("bob", who(root:su "bob")) end)
    it("asks a function", function()
      local asked
      local far = alice:su("bob", {
        password = function(question)
          asked = question
          return "builder"
        end,
      })
      assert.equal("bob", who(far))
      assert.equal("[su] password of bob on alice@house: ", asked)
    end)
    it("says that the password is wrong", function()
      local name, message = failure(alice.su, alice, "bob", { password = "no" })
      assert.equal("denied", name)
      assert.matches("Authentication failure", message)
    end)
    it("leaves the language as it was", function()
      local far = alice:su("bob", { password = "builder" })
      assert.equal(alice.environ.LC_ALL, far.environ.LC_ALL)
      far:disconnect()
    end)
  end)

  describe("by doas", function()
    it("needs no password where it is not asked for one", function() assert.equal("bob", who(root:doas "bob")) end)
    it("is answered on a terminal of its own", function()
      local asked
      local far = alice:doas("root", {
        password = function(question)
          asked = question
          return PASSWORD
        end,
      })
      assert.equal("root", who(far))
      assert.matches("doas %(alice@.*%) password: ", asked)
    end)
    it("says that the password is wrong", function()
      local name = failure(alice.doas, alice, "root", { password = "no" })
      assert.equal("denied", name)
    end)
    it("says who may not", function()
      local bob = root:su "bob"
      assert.equal("not_allowed", (failure(bob.doas, bob, "root", { password = "builder" })))
      bob:disconnect()
    end)
  end)

  it("by setpriv has other ids and no way back", function()
    local far = root:setpriv { reuid = "alice", regid = "alice", clear_groups = true, no_new_privs = true }
    assert.equal("alice", (far:run({ "id", "-un" }).stdout:gsub("\n", "")))
    local name, message = failure(far.sudo, far, "root", { password = PASSWORD })
    assert.equal("no_new_privs", name)
    assert.matches("no privileges can be gained", message)
    far:disconnect()
  end)

  it("by users one after the other", function()
    local far = root:su("alice"):sudo("root", { password = PASSWORD }):su "bob"
    assert.equal("bob@root@alice@house", far.machine.name)
    assert.equal("bob", who(far))
  end)

  it("refuses what can't be meant, before anything is run", function()
    for _, case in ipairs {
      { "sudo", { "-x" }, 'the user begins with a "-": "-x"' },
      { "sudo", { "" }, "the user is a string" },
      { "sudo", { {} }, "the user is a string, not table" },
      { "sudo", { "alice", { pasword = "x" } }, 'there is no option "pasword" (did you mean "password"?)' },
      { "sudo", { "alice", { password = 1 } }, "password is a function or a string, not number" },
      { "su", { "alice", "x" }, "the options are a table, not string" },
      { "doas", { "a\0b" }, "NUL byte" },
      { "setpriv", { { uid = 1 } }, 'there is no option "uid"' },
    } do
      local _, err = pcall(root[case[1]], root, unpack(case[2]))
      assert.is_truthy(tostring(err):find(case[3], 1, true), tostring(err))
    end
  end)

  it("says so when nobody can be asked", function()
    if afar.here:run({ "sh", "-c", ": </dev/tty", check = false }).status.ok then return pending "there is a terminal" end
    local name, message = failure(alice.sudo, alice, "root")
    assert.equal("denied", name)
    assert.matches("nobody can be asked for .*: there is no terminal", message)
  end)
end)
