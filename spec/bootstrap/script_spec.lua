-- The shell side of the bootstrap, in every shell that is installed. It needs nothing of afar but the script itself.

package.path = "./lua/?.lua;" .. package.path
local script = require("afar.bootstrap.script")

local MARKER = "0123456789abcdef0123456789abcdef"
local HELLO = MARKER .. "AFAR\n"

local function output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("*a")
  pipe:close()
  return text
end

local function succeeds(command)
  return output("(" .. command .. ") >/dev/null 2>&1 && echo yes") == "yes\n"
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

-- A command with placeholders, in which $T stands for the directory of the tests.
local dir

local function sh(text)
  return output((text:gsub("%$T", dir)))
end

local function leftovers()
  return output("ls -a /dev/shm /tmp /var/tmp $HOME . 2>/dev/null | grep -F .afar-" .. MARKER)
end

local ENTRY = "env -i HOME=$T/home PATH=${P:-$PATH} "

describe("the bootstrap script", function()
  local stub

  setup(function()
    dir = output("mktemp -d"):gsub("\n", "")
    sh("mkdir $T/home $T/bin; cc -Os -static -s -o $T/stub spec/support/fake_stub.c")
    stub = read(dir .. "/stub")
    -- The fake is large, being linked with libc: in a command there is only room for a small one.
    sh([[printf '#!/bin/sh\n[ $# = 0 ]&&exit 64\n[ "$AFAR_UNLINK" ]&&rm "$AFAR_UNLINK"\necho $1AFAR\nexec cat\n' > $T/small]])
    local small = read(dir .. "/small")
    local stubs = { x86_64 = small, aarch64 = small }
    write(dir .. "/command", script.command({ marker = MARKER, stubs = stubs }))
    write(dir .. "/ask", script.command({ marker = MARKER }))
    write(dir .. "/line", script.interactive({ marker = MARKER, stubs = stubs }))
    write(dir .. "/lines", script.stub_lines(stub))
    sh("cd $T/bin; for t in sh uname rm chmod cat; do ln -s $(command -v $t) $t; done")
  end)

  teardown(function()
    sh("rm -rf $T")
  end)

  after_each(function()
    assert.equal("", leftovers())
  end)

  it("has nothing in it that a login shell could take for its own", function()
    local command = script.command({ marker = MARKER, stubs = { x86_64 = ("\0\255"):rep(9000) } })
    local inner = command:match("^exec /bin/sh %-c '(.*)'$")
    assert.is_nil(inner:find("[\n\\!']"))
    assert.is_nil(command:find(MARKER, 1, true))
    assert.is_true(#script.interactive({ marker = MARKER }) < 4096)
  end)

  it("refuses what does not fit into an argument", function()
    local stubs = { x86_64 = ("x"):rep(65536), aarch64 = ("x"):rep(65536) }
    assert.has_error(function()
      script.command({ marker = MARKER, stubs = stubs })
    end, "the stubs are too large for one argument")
  end)

  it("encodes base64 as others do", function()
    for _, text in ipairs({ "", "a", "ab", "abc", "abcd", "\0\255\128\1" }) do
      write(dir .. "/plain", text)
      assert.equal(sh("base64 -w0 $T/plain"), script.base64(text))
    end
  end)

  for _, shell in ipairs({ "bash", "dash", "busybox ash", "fish", "tcsh", "zsh", "mksh" }) do
    local name = shell:match("%S+$")
    local there = succeeds(shell .. " -c true")
    local test = there and it or pending

    test("becomes a stub in login shell " .. name, function()
      assert.equal(HELLO .. "there\n", sh("echo there | " .. ENTRY .. shell .. [[ -c "$(cat $T/command)"]]))
    end)

    if name ~= "fish" and name ~= "tcsh" and name ~= "zsh" then
      test("becomes a stub where /bin/sh is " .. name, function()
        local command = read(dir .. "/command"):gsub("/bin/sh", shell, 1)
        write(dir .. "/changed", command)
        assert.equal(HELLO .. "there\n", sh("echo there | " .. ENTRY .. [[sh -c "$(cat $T/changed)"]]))
      end)

      test("takes its stub as lines where /bin/sh is " .. name, function()
        local command = read(dir .. "/ask"):gsub("/bin/sh", shell, 1)
        write(dir .. "/changed", command)
        local got = sh("(cat $T/lines; sleep 0.3; echo there) | " .. ENTRY .. [[sh -c "$(cat $T/changed)"]])
        assert.equal(MARKER .. "-send x86_64\n" .. HELLO .. "there\n", got)
      end)
    end

    if name ~= "fish" then
      test("is a line for a " .. name .. " that reads its commands", function()
        assert.equal(HELLO .. "there\n", sh("(cat $T/line; sleep 0.5; echo there) | " .. ENTRY .. shell))
      end)
    end
  end

  it("asks for its stub where nothing decodes base64, and runs the real one", function()
    local got = sh("P=$T/bin; export P; (cat $T/lines; sleep 0.3; echo there) | " .. ENTRY .. [[/bin/sh -c "$(cat $T/command)"]])
    assert.equal(MARKER .. "-send x86_64\n" .. HELLO .. "there\n", got)
  end)

  for _, decoder in ipairs({ "base64", "openssl", "busybox", "perl" }) do
    local test = succeeds("command -v " .. decoder) and it or pending

    test("decodes with " .. decoder .. " alone", function()
      sh("mkdir $T/one; cp -P $T/bin/* $T/one; ln -s $(command -v " .. decoder .. ") $T/one")
      local got = sh("P=$T/one; export P; echo there | " .. ENTRY .. [[/bin/sh -c "$(cat $T/command)"; rm -r $T/one]])
      assert.equal(HELLO .. "there\n", got)
    end)
  end

  it("says which machine has no stub", function()
    sh([[mkdir $T/vax; cp -P $T/bin/* $T/vax; rm $T/vax/uname; printf '#!/bin/sh\necho vax\n' >$T/vax/uname; chmod 700 $T/vax/uname]])
    local got = sh("P=$T/vax; export P; " .. ENTRY .. [[/bin/sh -c "$(cat $T/command)"; rm -r $T/vax]])
    assert.equal(MARKER .. "-error machine vax\n", got)
  end)

  it("keeps umask and environment as they were", function()
    local probe = [[printf '#!/bin/sh\n[ $# = 0 ]&&exit 64\numask;env|sort\n' >$T/probe]]
    sh(probe)
    local stubs = { x86_64 = read(dir .. "/probe"), aarch64 = read(dir .. "/probe") }
    write(dir .. "/changed", script.command({ marker = MARKER, stubs = stubs }))
    assert.equal(
      sh([[umask 027; env -i A=1 PATH=$PATH sh -c 'umask; exec sh -c "env|sort"']]),
      sh([[umask 027; env -i A=1 PATH=$PATH sh -c "$(cat $T/changed)"]])
    )
  end)

  describe("with directories that don't execute", function()
    local namespace = succeeds("unshare -m true") and "unshare -m " or "unshare -rm "
    local test = succeeds(namespace .. "mount -t tmpfs none /mnt") and it or pending

    -- Runs the command in a mount namespace that `mounts` has changed.
    local function far(mounts, command, input)
      local text = [[C="$(cat $T/]] .. command .. [[)"; export C; (]] .. input .. ") | " .. namespace
      return sh(text .. [[sh -c ']] .. mounts .. [[; cd /; unset TMPDIR XDG_RUNTIME_DIR; HOME=/mnt; exec sh -c "$C"']])
    end
    local function noexec(...)
      local mounts = {}
      for i, path in ipairs({ ... }) do
        mounts[i] = "mount -t tmpfs -o noexec none " .. path
      end
      return table.concat(mounts, ";")
    end

    test("goes on to the next one", function()
      assert.equal(HELLO .. "there\n", far(noexec("/dev/shm", "/tmp"), "command", "echo there"))
    end)

    test("goes on to the next one, asked for lines only once", function()
      local got = far(noexec("/dev/shm", "/tmp"), "ask", "cat $T/lines; sleep 0.3; echo there")
      assert.equal(MARKER .. "-send x86_64\n" .. HELLO .. "there\n", got)
    end)

    test("takes the home directory when nothing else is left", function()
      local mounts = noexec("/dev/shm", "/tmp", "/var/tmp") .. "; mount -t tmpfs none /mnt"
      assert.equal(HELLO .. "there\n", far(mounts, "command", "echo there"))
    end)

    test("goes on when a directory is full", function()
      local mounts = "mount -t tmpfs -o size=4k,nr_inodes=9 none /dev/shm; head -c 4096 /dev/zero >/dev/shm/full"
      assert.equal(HELLO .. "there\n", far(mounts, "command", "echo there"))
    end)

    test("says where it tried, when there is none", function()
      local mounts = noexec("/dev/shm", "/tmp", "/var/tmp", "/mnt") .. "; mount -o remount,bind,noexec / || mount -o bind,ro / /"
      local got = far(mounts, "command", "echo there")
      if got:find("AFAR", 1, true) and not got:find("-error", 1, true) then
        pending("/ can't be made noexec here")
      end
      assert.match("^" .. MARKER .. "%-error noexec /dev/shm /tmp /var/tmp /mnt", got)
    end)

    test("works without /proc", function()
      assert.equal(HELLO .. "there\n", far("mount -t tmpfs none /proc", "command", "echo there"))
    end)
  end)

  describe("killed half-way", function()
    -- A tool which stands still: then the shell, or its whole group, is killed.
    local function killed(tool, signal, group, command)
      sh("mkdir $T/slow; cp -P $T/bin/* $T/slow; rm -f $T/slow/" .. tool)
      write(dir .. "/slow/" .. tool, "#!/bin/sh\n: >" .. dir .. "/reached\nsleep 0.4\nexec " .. sh("command -v " .. tool):gsub("\n", "") .. ' "$@"\n')
      sh("chmod 700 $T/slow/*; [ -e $T/slow/base64 ] || ln -s $(command -v base64) $T/slow; ln -s $(command -v sleep) $T/slow")
      local target = group and "-$p" or "$p"
      sh("rm -f $T/reached; C=\"$(cat $T/" .. command .. ")\"; PATH=$T/slow setsid sh -c \"$C\" </dev/null >/dev/null 2>&1 & p=$!; "
        .. "while [ ! -e $T/reached ]; do sleep 0.02; done; kill -" .. signal .. " " .. target .. "; wait $p 2>/dev/null; sleep 0.6; rm -r $T/slow")
      return leftovers()
    end

    for _, tool in ipairs({ "uname", "rm", "chmod", "base64" }) do
      for _, signal in ipairs({ "HUP", "TERM", "KILL" }) do
        -- Between creating the file and unlinking it a shell can be killed by force: nothing can be done there.
        if not (tool == "rm" and signal == "KILL") then
          it(("by %s in %s leaves nothing"):format(signal, tool), function()
            assert.equal("", killed(tool, signal, false, "command"))
            assert.equal("", killed(tool, signal, signal ~= "KILL" and tool ~= "rm", "command"))
          end)
        end
      end
    end

    it("by the end of its stdin amid the lines leaves nothing, and asks no more", function()
      local got = sh("head -c 5000 $T/lines | " .. ENTRY .. [[sh -c "$(cat $T/ask)"]])
      assert.equal(MARKER .. "-send x86_64\n", got)
    end)
  end)
end)

describe("script.scan", function()
  it("tells noise, a root, a question and an error", function()
    assert.same({ nil, "noi", 4 }, { script.scan("noi" .. MARKER:sub(1, 31), MARKER) })
    assert.same({ nil, "noise", 6 }, { script.scan("noise" .. MARKER, MARKER) })
    assert.same({ "hello", "noise", 38 }, { script.scan("noise" .. MARKER .. "AFAR", MARKER) })
    assert.same({ nil, "", 1 }, { script.scan(MARKER .. "-send x86", MARKER) })
    assert.same({ "send", "", 46, "x86_64", "" }, { script.scan(MARKER .. "-send x86_64\r\n", MARKER) })
    assert.same({ "error", "", 53, "noexec", "/tmp /x" }, { script.scan(MARKER .. "-error noexec /tmp /x\n", MARKER) })
  end)
end)
