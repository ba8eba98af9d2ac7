-- A directory with all that is in it, copied between processes wherever they are.

local afar = require "afar"
local probe = require "spec.support.probe"
local superuser = require "spec.support.superuser"
local ways = require "spec.support.ways"

local raised = require "spec.support.raised"

local message = raised.message

--- All that can be seen of a tree, a line an entry.
local DESCRIBE = [[cd "$1" && find . -printf '%P %y %m %U %G %T@ %l %n\n' | sort]]

ways.each(function(way)
  describe("p:copy_tree", function()
    local p, dir

    before_each(function()
      p = way.root:fork()
      p:umask "022"
      dir = p:mkdtemp()
    end)

    after_each(function()
      p:remove_tree(dir, { force = true })
      p:exit()
    end)

    local function shell(script) return afar.here:run({ "sh", "-ec", script, "sh", dir }).stdout end

    local function describe_tree(name) return afar.here:run({ "sh", "-ec", DESCRIBE, "sh", dir .. "/" .. name }).stdout end

    --- Nanoseconds too; the times of what is hard to set are left as they are.
    local function make()
      shell [[cd "$1"; umask 022; mkdir -p src/a/b src/empty src/many
        echo hello > src/a/file; chmod 0640 src/a/file; chown 1234:2345 src/a/file; chmod 4755 src/a/file
        : > src/a/b/nothing; ln -s ../a/file src/link; ln -s /nowhere/at/all src/dangling
        ln src/a/file src/hard; ln src/a/file src/a/b/hard2
        mkfifo -m 0600 src/fifo; chmod 0750 src/a/b; chmod 0111 src/empty
        head -c 300000 /dev/urandom > src/large; truncate -s 5M src/sparse; echo x | dd of=src/sparse bs=1 seek=3000000 conv=notrunc status=none
        for i in $(seq 150); do echo $i > src/many/$i; done
        printf 'odd' > 'src/name with
newline'
        find src -exec touch -h -d '2001-02-03 04:05:06.123456789' {} +]]
    end

    local function compare()
      assert.equal("", shell [[cd "$1"; diff -r --no-dereference src copy 2>&1 | grep -v 'is a fifo' || true]])
      assert.equal(describe_tree "src", describe_tree "copy")
    end

    it("copies all that there is, to another process", function()
      superuser.needed()
      make()
      local there = afar.here:fork()
      assert.equal(164, p:copy_tree(dir .. "/src", there, dir .. "/copy"))
      there:exit()
      compare()
      assert.equal("3", (shell [[stat -c %h "$1/copy/hard"]]:gsub("\n", "")))
      assert.is_true(tonumber(shell [[stat -c %b "$1/copy/sparse"]]) * 512 < 1000000)
    end)

    it("copies from another process, and within one", function()
      superuser.needed()
      make()
      local here = afar.here:fork()
      here:copy_tree(dir .. "/src", p, dir .. "/copy")
      compare()
      here:exit()
      p:remove_tree(dir .. "/copy", { force = true })
      p:copy_tree(dir .. "/src", p, dir .. "/copy")
      compare()
    end)

    it("has copied all of a large file when it returns, each time", function()
      shell [[head -c 700000 /dev/zero > "$1/large"]]
      local there = afar.here:fork()
      for _ = 1, 10 do assert.equal(700000, p:copy_to(dir .. "/large", there, dir .. "/again", { sync = false })) end
      there:exit()
    end)

    it("copies files of all sizes around those at which another way is taken", function()
      shell [[cd "$1"; mkdir src; for n in 0 1 8191 8192 8193 65535 65536 65537; do head -c $n /dev/urandom > src/$n; done
        truncate -s 8000 src/hole; ln src/8191 src/zlink]]
      local there = afar.here:fork()
      assert.equal(10, (p:copy_tree(dir .. "/src", there, dir .. "/copy")))
      there:exit()
      assert.equal("", shell [[diff -r "$1/src" "$1/copy" 2>&1 || true]])
      assert.equal("2\n", shell [[stat -c %h "$1/copy/zlink"]])
    end)

    it("copies extended attributes", function()
      way:needs "extended attributes"
      shell [[cd "$1"; mkdir src; echo x > src/file]]
      for _, path in ipairs { "/src", "/src/file" } do
        p:syscall("setxattr", dir .. path, "user.colour", p:ptr "blue", 4, 0)
      end
      p:copy_tree(dir .. "/src", p, dir .. "/copy")
      local value = p:malloc(10)
      for _, path in ipairs { "/copy", "/copy/file" } do
        assert.equal(4, p:syscall("getxattr", dir .. path, "user.colour", value, 10))
        assert.equal("blue", value:bytes(0, 4))
      end
      p:copy_tree(dir .. "/src", p, dir .. "/bare", { attributes = false })
      assert.equal("ENODATA", select(2, afar.try(p.syscall, p, "getxattr", dir .. "/bare/file", "user.colour", value, 10)).name)
    end)

    it("takes no place that is taken, unless it is told to merge", function()
      shell [[cd "$1"; mkdir -p src/sub copy/sub copy/other; echo new > src/sub/file; echo old > copy/sub/file
        echo kept > copy/kept; ln -s sub src/l; : > copy/l]]
      assert.matches("EEXIST", message(p.copy_tree, p, dir .. "/src", p, dir .. "/copy"))
      assert.equal("old\n", p:read_file(dir .. "/copy/sub/file"))
      p:copy_tree(dir .. "/src", p, dir .. "/copy", { merge = true })
      assert.equal("new\n", p:read_file(dir .. "/copy/sub/file"))
      assert.equal("kept\n", p:read_file(dir .. "/copy/kept"))
      assert.equal("sub", p:readlink(dir .. "/copy/l"))
      assert.same({ "kept", "l", "other", "sub" }, p:listdir(dir .. "/copy"))
    end)

    for _, by in ipairs { "time", "checksum" } do
      it("sends no file again that is unchanged, by " .. by, function()
        superuser.needed()
        make()
        assert.equal(0, select(2, p:copy_tree(dir .. "/src", p, dir .. "/copy", { unchanged = by })))
        local inodes = [[cd "$1/copy"; find . -type f ! -name '*hard*' ! -name '*line' -printf '%P %i\n' | sort]]
        local before = shell(inodes)
        local entries, same = p:copy_tree(dir .. "/src", p, dir .. "/copy", { unchanged = by })
        assert.same({ 164, by == "time" and 155 or 154 }, { entries, same }) -- a name with a newline is not for sha256sum
        assert.equal(before, shell(inodes))
        compare()
        -- Contents, then only what is told of a file.
        shell [[cd "$1/src"; echo changed > many/7; touch -d 2002-03-04 many/7 many/8; chmod 0600 many/9; chown 77:88 many/10
          printf xx > large; truncate -s 300000 large; rm many/11; ln -s x many/11; echo y > many/12]]
        local _, still = p:copy_tree(dir .. "/src", p, dir .. "/copy", { unchanged = by })
        assert.equal(150, still) -- by time many/8 is another, too
        compare()
      end)
    end

    it("tells what has the same size and time, and other contents, by checksum only", function()
      shell [[cd "$1"; mkdir -p src copy; echo new > src/f; echo old > copy/f; touch -d 2001-01-01 src/f copy/f]]
      local there = afar.here:fork()
      local function copy(by) return select(2, p:copy_tree(dir .. "/src", there, dir .. "/copy", { unchanged = by })) end
      assert.equal(1, copy "time")
      assert.equal("old\n", p:read_file(dir .. "/copy/f"))
      assert.equal(0, copy "checksum")
      assert.equal("new\n", p:read_file(dir .. "/copy/f"))
      assert.equal(1, copy "checksum")
      there:exit()
    end)

    it("copies the attributes of what is unchanged", function()
      way:needs "extended attributes"
      shell [[cd "$1"; mkdir src; echo x > src/file]]
      p:copy_tree(dir .. "/src", p, dir .. "/copy")
      p:syscall("setxattr", dir .. "/src/file", "user.colour", p:ptr "blue", 4, 0)
      assert.equal(1, select(2, p:copy_tree(dir .. "/src", p, dir .. "/copy", { unchanged = "time" })))
      local value = p:malloc(10)
      assert.equal(4, p:syscall("getxattr", dir .. "/copy/file", "user.colour", value, 10))
      assert.equal("blue", value:bytes(0, 4))
    end)

    it("says when there is nothing that makes checksums", function()
      shell [[cd "$1"; mkdir -p src copy; echo x > src/f; echo x > copy/f]]
      local there = afar.here:fork()
      there.environ.PATH = "/nowhere"
      local err = raised.err(p.copy_tree, p, dir .. "/src", there, dir .. "/copy", { unchanged = "checksum" })
      assert.matches("there is no sha256sum; unchanged = \"time\" needs none", tostring(err))
      there:exit()
    end)

    it("writes through no link at the destination", function()
      shell [[cd "$1"; mkdir -p src/sub copy victim; echo new > src/sub/file; echo new > src/f; ln -s ../victim copy/sub; ln -s ../victim/f copy/f]]
      assert.matches("ENOTDIR", message(p.copy_tree, p, dir .. "/src", p, dir .. "/copy", { merge = true }))
      assert.same({}, p:listdir(dir .. "/victim"))
    end)

    it("gives to itself what it may not give to others", function()
      superuser.needed()
      shell [[cd "$1"; mkdir -p src; echo x > src/suid; chmod 6755 src/suid; chmod 0777 "$1"; chmod 0755 src]]
      local other = way.root:fork()
      other:setresgid(65534, 65534, 65534)
      other:setresuid(65534, 65534, 65534)
      p:copy_tree(dir .. "/src", other, dir .. "/copy")
      other:exit()
      local stat = p:stat(dir .. "/copy/suid")
      assert.same({ 65534, "0755" }, { stat.st_uid, stat.permissions })
    end)

    it("says when the disk is full", function()
      superuser.needed()
      way:needs "mounts"
      shell [[cd "$1"; mkdir -p src small; head -c 50000 /dev/zero | tr '\0' x > src/a; cp src/a src/b; cp src/a src/c]]
      local child = way.root:clone "CLONE_NEWNS"
      child:mount(nil, "/", nil, "MS_REC|MS_PRIVATE")
      child:mount("tmpfs", dir .. "/small", "tmpfs", nil, "size=100k")
      assert.matches('small/copy/.".*ENOSPC', message(p.copy_tree, p, dir .. "/src", child, dir .. "/small/copy"))
      child:exit()
    end)

    it("refuses to copy a directory into itself", function()
      shell [[mkdir -p "$1/src/a"]]
      assert.matches("the copy would lie within", message(p.copy_tree, p, dir .. "/src", p, dir .. "/src/a/copy"))
    end)

    it("refuses bad input", function()
      assert.has_error(function() p:copy_tree(dir, "there") end, "copy_tree: the second argument is a process")
      assert.has_error(function() p:copy_tree(dir, p, dir, { mergee = true }) end, 'copy_tree: there is no option "mergee"')
      assert.has_error(function() p:copy_tree(dir, p, dir, { unchanged = "size" }) end, 'copy_tree: unchanged is "time" or "checksum", not "size"')
      assert.matches("ENOENT", message(p.copy_tree, p, dir .. "/none", p, dir .. "/copy"))
      shell [[: > "$1/file"]]
      assert.matches("ENOTDIR", message(p.copy_tree, p, dir .. "/file", p, dir .. "/copy"))
    end)

    it("finds again what is copied at the same time: hard links across directories", function()
      shell [[cd "$1"; mkdir -p src/1/a; for i in $(seq 70); do echo $i > src/1/a/$i; done
        for d in 2 3 4 5 6; do mkdir src/$d; cp -al src/1/a src/$d/b; done; cp -al src/1/a src/b]]
      p:copy_tree(dir .. "/src", p, dir .. "/copy")
      assert.equal("", shell [[cd "$1"; diff -r src copy 2>&1 || true]])
      assert.equal("490 7\n", shell [[cd "$1"; find copy -type f -printf '%n\n' | sort | uniq -c | sed 's/^ *//']])
    end)

    it("ends the others when one batch fails, and leaves no fd open", function()
      shell [[cd "$1"; for d in 1 2 3 4; do mkdir -p src/$d copy/$d; for i in $(seq 70); do : > src/$d/$i; done; done; ln -s x src/3/odd; mkdir copy/3/odd]]
      local before = probe.fds(p)
      assert.matches("EEXIST", message(p.copy_tree, p, dir .. "/src", p, dir .. "/copy", { merge = true }))
      assert.is_true(probe.soon(function()
        collectgarbage()
        p:getpid()
        return probe.fds(p) == before
      end))
    end)

    it("tells how far it is", function()
      shell [[cd "$1"; mkdir -p src/sub; for i in $(seq 100); do : > src/sub/$i; done]]
      local counts = {}
      assert.equal(101, p:copy_tree(dir .. "/src", p, dir .. "/copy", { progress = function(count) counts[#counts + 1] = count end }))
      assert.equal(101, counts[#counts])
      for i = 2, #counts do assert.is_true(counts[i] > counts[i - 1], "it went back") end
    end)
  end)
end)
