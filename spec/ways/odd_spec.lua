-- Old and odd far sides: what they lack, and what they say. Each works, or says exactly what is missing.

local afar = require "afar"
local house = require "spec.support.house"
local rootfs = require "spec.support.rootfs"

local here = afar.here

-- At the end of a pipeline whose session is its own: passes on so many bytes, then ends all of it.
local CUT = "{ stdbuf -o0 head -c %d; sleep 0.2; kill -9 0; }"

local function works(far)
  local ok = far:getpid() > 0 and far:run({ "echo", "works" }).stdout == "works\n"
  far:disconnect()
  return ok
end

local failure = require("spec.support.raised").named

describe("a far side that", function()
  it("prints a banner before and while it obeys", function()
    local far = here:bootstrap { "sh", "-c", 'echo Welcome; echo Be good >&2; head -c 30000 /dev/zero; exec sh -c "$0"', afar.SCRIPT }
    assert.is_true(works(far))
  end)

  it("has only its stdin, and takes a line at a time", function() assert.is_true(works(here:bootstrap { "busybox", "sh" })) end)

  -- What comes from it is cut after so many bytes: in the noise, the marker, the hello, behind it.
  for _, count in ipairs { 0, 1, 16, 31, 32, 33, 40, 300, 455 } do
    for name, command in pairs {
      ["with all in its command"] = { "setsid", "--wait", "sh", "-c", 'sh -c "$0" | ' .. CUT:format(count), afar.SCRIPT },
      ["with its stdin"] = { "setsid", "--wait", "sh", "-c", "sh | " .. CUT:format(count) },
    } do
      it(("dies after %d bytes, %s"):format(count, name), function()
        local began = os.time()
        command.name = "odd"
        local _, message = failure(here.bootstrap, here, command)
        assert.matches("^bootstrap%(.*odd.*: .*no root came up", message)
        assert.is_true(os.time() - began < 60)
      end)
    end
  end

  it("hangs is given up, with the stage at which it hung", function()
    local stages = {
      ["nothing has come from the far side"] = { "sleep", "60" },
      ['nothing has come from the far side ("Wait a moment.")'] = { "sh", "-c", "echo Wait a moment. >&2; exec cat >/dev/null" },
      ['what has come from the far side is not a root\'s ("Welcome")'] = { "sh", "-c", "echo; echo Welcome; exec cat >/dev/null" },
      ["the shell there has asked for its stub, but didn't execute it"] = {
        "sh", "-c", 'echo "$1-send x86_64"; exec cat >/dev/null', "sh", afar.MARKER,
      },
      ["the stub there has begun to speak, and stopped amid its hello"] = {
        "sh", "-c", 'exec 3<&0; sh -c "$0" | { head -c 100; cat <&3 >/dev/null; }', afar.SCRIPT,
      },
    }
    afar.nursery(function(n)
      for stage, command in pairs(stages) do
        n:spawn(function()
          command.name, command.timeout = "odd", 4
          local name, message = failure(here.bootstrap, here, command)
          assert.equal("timeout", name)
          assert.matches('^bootstrap%("odd"%) in .*: no root came up within 4 s: ', message)
          assert.truthy(message:find(stage .. "; timeout = seconds gives it more time", 1, true), message)
        end)
      end
    end)
  end)

  it("dies after the hello", function()
    local far = here:bootstrap { "setsid", "--wait", "sh", "-c", 'sh -c "$0" | ' .. CUT:format(20000), afar.SCRIPT }
    local _, err = pcall(function()
      for _ = 1, 1000 do far:read_file "/proc/self/environ" end
    end)
    assert.is_true(afar.is_error(err))
    assert.is_boolean(err.sent)
    far:disconnect()
  end)

  it("ends, but leaves somebody behind who holds the stream", function()
    local _, message = failure(here.bootstrap, here, { "sh", "-c", "sleep 5 >&- & echo So long. >&2; exit 4" })
    assert.matches("no root came up: So long%. %(exit code 4%)", message)
  end)

  it("says why it ends", function()
    local _, message = failure(here.bootstrap, here, { "sh", "-c", "echo The gates are closed. >&2; exit 3" })
    assert.matches("no root came up: The gates are closed%. %(exit code 3%)", message)
  end)

  it("is of a kind for which there is no stub", function()
    local script = 'mkdir "$1" && printf "#!/bin/sh\\necho riscv64\\n" >"$1/uname" && chmod 755 "$1/uname" && PATH=$1:$PATH exec sh -c "$0"'
    local dir = here:mkdtemp()
    local name, message = failure(here.bootstrap, here, { "sh", "-c", script, afar.SCRIPT, dir .. "/bin" })
    here:remove_tree(dir)
    assert.equal("machine", name)
    assert.matches("architecture is riscv64, for which there is no stub; x86_64 and aarch64 are known", message)
  end)

  it("is 10 KB/s slow, with all in its command or with its stdin alone", function()
    local script = [[
      trickle() { perl -e '$|=1; while (sysread(STDIN, $b, 512)) { syswrite(STDOUT, $b); select(undef, undef, undef, 0.05) }'; }
      trickle | sh %s | trickle]]
    local function slow(word)
      local far = here:bootstrap { "sh", "-c", script:format(word), word ~= "" and afar.SCRIPT or nil }
      assert.equal(20000, #far:run({ "head", "-c", "20000", "/dev/zero" }).stdout)
      far:disconnect()
    end
    afar.nursery(function(n)
      n:spawn(slow, '-c "$0"')
      n:spawn(slow, "")
    end)
  end)
end)

describe("a place", function()
  if house.missing() then return pending(house.missing()) end
  local dir

  before_each(function()
    dir = here:mkdtemp()
    here:chmod(dir, "0755")
  end)
  after_each(function() here:remove_tree(dir, { force = true }) end)

  --- All files in there.
  local function files() return here:run({ "find", dir, "-xdev" }).stdout end

  it("without /proc, with busybox only, is left as it was", function()
    rootfs.make(here, dir .. "/root")
    local before = files()
    assert.is_true(works(here:chrooted(dir .. "/root")))
    assert.equal(before, files())
  end)

  it("without /dev, /tmp and /proc is left as it was", function()
    rootfs.make(here, dir .. "/root")
    for _, name in ipairs { "dev", "tmp", "proc", "sys", "root" } do here:remove_tree(dir .. "/root/" .. name) end
    local before = files()
    local far = here:chrooted(dir .. "/root")
    assert.equal("busybox", far:readlink "/bin/sh")
    far:disconnect()
    assert.equal(before, files())
  end)

  --- Runs `setup` in a mount namespace, then becomes a root there.
  local function place(setup)
    return here:bootstrap {
      "unshare", "-m", "--propagation", "private", "env", "-u", "XDG_RUNTIME_DIR", "-u", "TMPDIR", "HOME=/root", "sh", "-ec",
      setup .. '\ncd /; exec sh -c "$0"', afar.SCRIPT, name = "place",
    }
  end

  local COVER = "for d in /dev/shm /tmp /var/tmp /root; do mount -t tmpfs -o %s none $d; done\n"

  it("with a read-only root and one place that executes", function()
    assert.is_true(works(place(COVER:format "noexec" .. "mount -t tmpfs none /var/tmp\n")))
  end)

  it("with no place that executes says where it has tried", function()
    rootfs.make(here, dir .. "/root")
    local name, message = failure(here.bootstrap, here, {
      "unshare", "-m", "--propagation", "private", "sh", "-ec",
      'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; mount -t tmpfs -o noexec none "$1/tmp"; exec chroot "$1" /bin/sh -c "$0"', afar.SCRIPT,
      dir .. "/root", name = "place",
    })
    assert.equal("noexec", name)
    assert.matches("no place to write a program and execute it %(tried: /tmp[ )]", message)
  end)

  it("that is read-only as a whole says where it has tried", function()
    rootfs.make(here, dir .. "/root")
    local name, message = failure(here.bootstrap, here, {
      "unshare", "-m", "--propagation", "private", "sh", "-ec",
      'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; exec chroot "$1" /bin/sh -c "$0"', afar.SCRIPT, dir .. "/root", name = "place",
    })
    assert.equal("noexec", name)
    assert.matches("no place to write a program and execute it", message)
  end)
end)
