-- What is asked on the host's terminal: in tmux, as a person would see and answer it.

local house = require "spec.support.house"
local ports = require "spec.support.ports"

describe("on a terminal", function()
  if house.missing() then return pending(house.missing()) end
  local afar = require "afar"
  local root, dir
  local sessions = 0

  setup(function()
    root = house.new()
    house.add_user(root, "alice", "open sesame")
    root:write_file("/etc/sudoers", "Defaults timestamp_timeout=0\nalice ALL=(ALL) ALL\n", { mode = 288 })
    root:write_file("/etc/doas.conf", "permit alice\n", { mode = 256 })
    dir = root:mkdtemp()
    root:chmod(dir, "0755")
  end)
  teardown(function()
    root:remove_tree(dir)
    root:disconnect()
  end)

  --- A server for each test: one that was told to end may still answer for a moment.
  local function run(...) return root:run({ "tmux", "-S", dir .. "/socket" .. sessions, ... }).stdout end

  local function count(shown, text)
    local _, found = shown:gsub(text:gsub("%p", "%%%0"), "")
    return found
  end

  --- Until the text is seen (so many times).
  local function wait_for(text, times)
    local shown
    local ok = pcall(afar.timeout, 60, function()
      repeat
        shown = run("capture-pane", "-p", "-t", "s")
        if count(shown, text) >= (times or 1) then return end
        afar.sleep(0.05)
      until false
    end)
    assert.is_true(ok, "waited for " .. text .. " in: " .. tostring(shown))
    return shown
  end

  --- Runs a script in a terminal, in there.
  local function session(script)
    root:write_file(dir .. "/script.lua", script)
    local afar_path = root:run({ "readlink", "-f", os.getenv "AFAR" or "build/afar" }).stdout:gsub("\n", "")
    local lua = os.getenv "AFAR_LUA"
    lua = lua and "AFAR_LUA=" .. root:run({ "readlink", "-f", lua }).stdout:gsub("\n", "") .. " " or ""
    local line = ("%s%s %s/script.lua; echo status $?; sleep 100"):format(lua, afar_path, dir)
    sessions = sessions + 1
    run("new-session", "-d", "-x", "150", "-y", "30", "-s", "s", line)
  end

  after_each(function() pcall(run, "kill-server") end)

  local function type_line(text)
    run("send-keys", "-t", "s", "-l", text)
    run("send-keys", "-t", "s", "Enter")
  end

  for _, case in ipairs {
    { "sudo", 'here:su("alice"):sudo("root")', "to become root:", "root" },
    { "su", 'here:su("nobody"):su("alice")', "password of alice on", "alice" },
    { "doas", 'here:su("alice"):doas("root")', "doas (alice", "root" },
  } do
    local name, reach, question, user = unpack(case)
    it(name .. " asks for the password, which isn't shown", function()
      session(('local here = require("afar").here; local p = %s; print("I am " .. p:run{"id", "-un"}.stdout)'):format(reach))
      wait_for(question)
      type_line "open sesame"
      local shown = wait_for "status 0"
      assert.is_truthy(shown:find("I am " .. user, 1, true), shown)
      assert.is_nil(shown:find("sesame", 1, true))
    end)
  end

  it("several wait for each other's answers", function()
    session [[
      local afar = require "afar"
      local function reach() return afar.here:su("nobody"):su("alice") end
      print(afar.map({ reach, reach }, function(p) return p:run({ "id", "-un" }).stdout end, { progress = false }))]]
    wait_for "password of alice"
    type_line "open sesame"
    wait_for("password of alice", 2)
    type_line "open sesame"
    wait_for "2 of 2 done, 0 failed"
  end)

  it("how far afar.map has come is shown, and taken away again", function()
    session(("local dir = %q"):format(dir) .. [[
      local afar = require "afar"
      local function reach() return afar.here:su "nobody" end
      local begun = 0
      local function slow(_, _, i)
        begun = begun + 1
        while i == 1 and begun < 3 or i > 1 and not io.open(dir .. "/go" .. i) do afar.sleep(0.01) end
        afar.sleep(1) -- nothing is shown at first, nor too often
        if i == 2 then error("broken", 0) end
      end
      local list = { reach, { name = "second", open = reach }, { name = "third", open = reach } }
      print(afar.map(list, slow))]])
    wait_for "1 of 3 done; at second, third"
    root:write_file(dir .. "/go2", "", { mode = "0644" })
    wait_for "2 of 3 done, 1 failed; at third"
    root:write_file(dir .. "/go3", "", { mode = "0644" })
    local shown = wait_for "status 0"
    assert.is_nil(shown:find("; at", 1, true))
    assert.is_truthy(shown:find("second +%d+%.%d+ s +FAILED broken"), shown)
  end)

  it("Ctrl-C at the question ends it, and the terminal shows again what is typed", function()
    session 'require("afar").here:su("nobody"):su("alice")'
    wait_for "password of alice"
    run("send-keys", "-t", "s", "C-c")
    wait_for "status 130"
  end)

  it("ssh asks by itself", function()
    root:run { "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir .. "/host" }
    local child = root:fork()
    local port = ports.free(1)[1]
    child:exec {
      "/usr/sbin/sshd", "-D", "-f", "/dev/null", "-p", port, "-h", dir .. "/host", "-o", "ListenAddress=127.0.0.1", "-o", "UsePAM=yes",
      "-o", "PidFile=none", stdout = "null", stderr = "null",
    }
    assert.is_true(ports.listens(port))
    session(([[
      local o = { port = %d, user = "alice", config = "/dev/null", options = { StrictHostKeyChecking = "ask", UserKnownHostsFile = "%s/known" } }
      print("I am " .. require("afar").here:ssh("127.0.0.1", o):run{"id", "-un"}.stdout)]]):format(port, dir))
    wait_for "continue connecting"
    type_line "yes"
    wait_for "assword:"
    type_line "open sesame"
    assert.is_truthy(wait_for("status 0"):find("I am alice", 1, true))
  end)
end)
