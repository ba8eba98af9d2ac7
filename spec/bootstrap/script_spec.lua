-- The shell side of the bootstrap, in every shell that is installed. It needs nothing of afar but the script itself.

package.path = "./lua/?.lua;" .. package.path
local script = require("afar.bootstrap.script")

local function output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("*a")
  pipe:close()
  return text
end

-- Another one in each run, since it is part of the names of files.
local MARKER = output("od -An -N16 -tx1 /dev/urandom"):gsub("%s", "")
local HELLO = MARKER .. "AFAR\n"

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

-- What a shell command says that is given `input`, and "there" once its stub has spoken: a shell that reads ahead takes only what is there.
local function answered(input, command, setup)
  return sh(([[
    %s
    rm -f $T/said
    { %s
      i=0; until grep -qs AFAR $T/said || [ $i = 3000 ]; do sleep 0.02; i=$((i + 1)); done
      echo there
    } | %s >$T/said
    cat $T/said]]):format(setup or "", input, command))
end

local function leftovers()
  return output("ls -a /dev/shm /tmp /var/tmp $HOME . 2>/dev/null | grep -F .afar-" .. MARKER)
end

local ENTRY = "env -i HOME=$T/home PATH=${P:-$PATH} "

-- `it`, or a test that says why it is skipped.
local function it_if(possible, why)
  if possible then
    return it
  end
  return function(name)
    it(name, function()
      pending(why)
    end)
  end
end

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
    sh("{ gzip -9nc $T/stub | base64 -w 512; echo .; } > $T/lines64")
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

  it("asks for lines of base64 as others write them", function()
    local packed = read(dir .. "/stub"):sub(1, 5000)
    write(dir .. "/plain", packed)
    assert.equal(sh("base64 -w512 $T/plain; echo ."), script.base64_lines(packed))
    write(dir .. "/plain", packed:sub(1, 768))
    assert.equal(sh("base64 -w512 $T/plain; echo ."), (script.base64_lines(packed:sub(1, 768)):gsub("\n\n", "\n")))
  end)

  it("encodes base64 as others do", function()
    for _, text in ipairs({ "", "a", "ab", "abc", "abcd", "\0\255\128\1" }) do
      write(dir .. "/plain", text)
      assert.equal(sh("base64 -w0 $T/plain"), script.base64(text))
    end
  end)

  for _, shell in ipairs({ "bash", "dash", "busybox ash", "fish", "tcsh", "zsh" }) do
    local name = shell:match("%S+$")
    local test = it_if(succeeds(shell .. " -c true"), name .. " is not installed")

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
        local got = answered("cat $T/lines64", ENTRY .. [[sh -c "$(cat $T/changed)"]])
        assert.equal(MARKER .. "-send x86_64 base64\n" .. HELLO .. "there\n", got)
        if name == "ash" then return end -- it has a base64 of its own
        local path = output("command -v " .. shell):gsub("\n", "")
        write(dir .. "/changed", (read(dir .. "/ask"):gsub("/bin/sh", path, 1)))
        got = answered("cat $T/lines", ENTRY .. [[/bin/sh -c "$(cat $T/changed)"]], "P=$T/bin; export P")
        assert.equal(MARKER .. "-send x86_64\n" .. HELLO .. "there\n", got)
      end)
    end

    if name ~= "fish" then
      test("is a line for a " .. name .. " that reads its commands", function()
        assert.equal(HELLO .. "there\n", answered("cat $T/line", ENTRY .. shell))
      end)
    end
  end

  describe("with the real stubs", function()
    local stubs = {}
    for _, machine in ipairs(script.machines) do
      local file = io.open("build/stub-" .. machine.name .. ".gz", "rb")
      stubs[machine.name] = file and file:read("*a")
      if file then
        file:close()
      end
    end
    local command = script.command({ marker = MARKER, stubs = stubs })
    local test = it_if(stubs.x86_64 and stubs.aarch64, "the stubs are not built")

    test("is small", function()
      assert.is_true(#command < 40 * 1024)
    end)

    for _, shell in ipairs({ "bash", "dash", "busybox ash", "fish", "tcsh", "zsh" }) do
      test("has a root in login shell " .. shell, function()
        write(dir .. "/changed", command)
        local got = sh(ENTRY .. shell .. [[ -c "$(cat $T/changed)" </dev/null]])
        assert.equal(MARKER .. "AFAR", got:sub(1, 36))
        assert.is_nil(got:find("AFAR_UNLINK", 1, true))
      end)
    end
  end)

  it("asks for its stub where nothing decodes base64, and runs the real one", function()
    local got = answered("cat $T/lines", ENTRY .. [[/bin/sh -c "$(cat $T/command)"]], "P=$T/bin; export P")
    assert.equal(MARKER .. "-send x86_64\n" .. HELLO .. "there\n", got)
  end)

  for _, decoder in ipairs({ "base64", "openssl", "busybox", "perl" }) do
    local test = it_if(succeeds("command -v " .. decoder), decoder .. " is not installed")

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
    local test = it_if(succeeds(namespace .. "mount -t tmpfs none /mnt"), "mount namespaces are not allowed here")

    -- Runs the command in a mount namespace that `mounts` has changed. `cwd` is the last directory that is tried.
    local function far(mounts, command, input, cwd)
      local shell = [[sh -c ']] .. mounts .. "; cd " .. (cwd or "/") .. [[; unset TMPDIR XDG_RUNTIME_DIR; HOME=/mnt; export HOME; exec sh -c "$C"']]
      local setup = [[C="$(cat $T/]] .. command .. [[)"; export C]]
      if input then return answered(input, namespace .. shell, setup) end
      return sh(setup .. "; echo there | " .. namespace .. shell)
    end
    local function noexec(...)
      local mounts = {}
      for i, path in ipairs({ ... }) do
        mounts[i] = "mount -t tmpfs -o noexec none " .. path
      end
      return table.concat(mounts, ";")
    end

    test("goes on to the next one", function()
      assert.equal(HELLO .. "there\n", far(noexec("/dev/shm", "/tmp"), "command"))
    end)

    test("goes on to the next one, asked for lines only once", function()
      local got = far(noexec("/dev/shm", "/tmp"), "ask", "cat $T/lines64")
      assert.equal(MARKER .. "-send x86_64 base64\n" .. HELLO .. "there\n", got)
    end)

    test("takes the home directory when nothing else is left", function()
      local mounts = noexec("/dev/shm", "/tmp", "/var/tmp") .. "; mount -t tmpfs none /mnt"
      assert.equal(HELLO .. "there\n", far(mounts, "command"))
    end)

    test("goes on when a directory is full", function()
      local mounts = "mount -t tmpfs -o size=4k,nr_inodes=9 none /dev/shm; head -c 4096 /dev/zero >/dev/shm/full"
      assert.equal(HELLO .. "there\n", far(mounts, "command"))
    end)

    test("says where it tried, when there is none", function()
      local got = far(noexec("/dev/shm", "/tmp", "/var/tmp", "/mnt"), "command", nil, "/mnt")
      assert.equal(MARKER .. "-error noexec /dev/shm /tmp /var/tmp /mnt .\n", got)
    end)

    test("works without /proc", function()
      assert.equal(HELLO .. "there\n", far("mount -t tmpfs none /proc", "command"))
    end)
  end)

  describe("killed half-way", function()
    -- A tool that stands still when it is first run, until it is told to go on: meanwhile the shell, or its whole group, is
    -- killed. Waits until all of the group has ended.
    local KILL = [[
      T=@T@; rm -f $T/reached; C="$(cat $T/command)"; exec 3<>$T/go
      env PATH=$T/slow @SETSID@ $T/slow/sh -c "$C" </dev/null >/dev/null 2>&1 3<&- & p=$!
      i=0; while [ ! -e $T/reached ] && [ $i -lt 3000 ]; do sleep 0.01; i=$((i + 1)); done
      [ -e $T/reached ] || echo "never came there"
      kill -@SIGNAL@ @GROUP@$p; echo >&3
      i=0; while ps -e -o pgid=,stat= | grep -q "^ *$p [^Z]" && [ $i -lt 3000 ]; do sleep 0.01; i=$((i + 1)); done
      [ $i -lt 3000 ] || echo "did not end"
    ]]
    local STANDING = [[#!/bin/sh
      [ -e @T@/reached ] || { : >@T@/reached; read x <@T@/go; }
      exec @TOOL@ "$@"
    ]]

    local function killed(tool, signal, group)
      local path = sh("command -v " .. tool):gsub("\n", "")
      sh("mkdir $T/slow; cp -P $T/bin/* $T/slow; ln -sf $(command -v base64) $T/slow; rm $T/slow/" .. tool)
      write(dir .. "/slow/" .. tool, (STANDING:gsub("@(%u+)@", { T = dir, TOOL = path })))
      sh("[ -p $T/go ] || mkfifo $T/go; chmod 700 $T/slow/" .. tool)
      local setsid = sh("command -v setsid"):gsub("\n", "")
      local values = { T = dir, SETSID = setsid, SIGNAL = signal, GROUP = group and "-" or "" }
      local said = output((KILL:gsub("@(%u+)@", values)))
      sh("rm -r $T/slow")
      return said .. leftovers()
    end

    for _, tool in ipairs({ "uname", "rm", "chmod", "base64" }) do
      for _, signal in ipairs({ "HUP", "TERM", "KILL" }) do
        it(("by %s in %s leaves nothing"):format(signal, tool), function()
          assert.equal("", killed(tool, signal, false))
          -- Between creating the file and unlinking it, all can be killed by force: nothing can be done there.
          if not (tool == "rm" and signal == "KILL") then
            assert.equal("", killed(tool, signal, true))
          end
        end)
      end
    end

    it("by the end of its stdin amid the lines leaves nothing, and asks no more", function()
      local got = sh("head -c 5000 $T/lines64 | " .. ENTRY .. [[sh -c "$(cat $T/ask)"]])
      assert.equal(MARKER .. "-send x86_64 base64\n", got)
      got = sh("P=$T/bin; export P; head -c 5000 $T/lines | " .. ENTRY .. [[/bin/sh -c "$(cat $T/ask)"]])
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
    assert.same({ "send", "", 47, "x86_64", "" }, { script.scan(MARKER .. "-send x86_64\r\n", MARKER) })
    assert.same({ "error", "", 55, "noexec", "/tmp /x" }, { script.scan(MARKER .. "-error noexec /tmp /x\n", MARKER) })
  end)
end)
