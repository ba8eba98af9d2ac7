-- Behaviours that no other spec has by itself; see spec/behaviours.lua, which says where each of them is.

local afar = require "afar"
local superuser = require "spec.support.superuser"
local ways = require "spec.support.ways"

local raised = require "spec.support.raised"

for _, name in ipairs { "here", "over pipes" } do
  describe("memory", function()
    ways.over(ways.get(name), function(way)
      it("is free at once when it was freed, and what is too much is refused", function()
        way:with_fork(function(p)
          local first = p:malloc(2048)
          local address = first.address
          first:free()
          assert.equal(address, p:malloc(2048).address)
          local err = raised.err(p.malloc, p, 2 ^ 50)
          assert.matches("ENOMEM", tostring(err))
          assert.equal(address, (function()
            collectgarbage()
            return p:malloc(2048)
          end)().address)
        end)
      end)

      it("is freed for all who point to it, and these can still be shown", function()
        way:with_fork(function(p)
          local bytes = p:ptr("0123456789abcdef")
          local same = bytes:cast "uint64_t"
          same:free()
          assert.matches("freed", tostring(raised.err(same.read, same)))
          assert.matches("freed", tostring(raised.err(bytes.read, bytes, 1)))
          assert.is_string(tostring(same) .. tostring(bytes))
        end)
      end)

      it("is mapped, advised about, and unmapped", function()
        way:with_fork(function(p)
          local C = p.machine.sys.C
          local address = p:mmap(0, 4096, C.PROT_READ + C.PROT_WRITE, C.MAP_SHARED + C.MAP_ANONYMOUS, -1, 0)
          assert.equal(0, p:madvise(address, 4096, C.MADV_REMOVE))
          assert.equal(0, p:munmap(address, 4096))
          assert.equal("EINVAL", raised.err(p.munmap, p, address + 1, 4096).name)
        end)
      end)
    end)
  end)

  describe("fds that are not meant for a fork", function()
    ways.over(ways.get(name), function(way)
      it("leave it with errors, not with signals", function()
        local from, to = way.root:pipe2()
        way:with_fork(function(p)
          local kept, dropped = p:inherit(to), p:inherit(from)
          p:close_others { kept }
          from:close()
          to:close()
          assert.equal("EBADF", raised.err(dropped.read, dropped).name)
          assert.equal("EPIPE", raised.err(kept.write, kept, "x").name)
          assert.equal(p.pid, p:getpid())
          kept:close()
        end)
      end)
    end)
  end)

  describe("the end of an init", function()
    ways.over(ways.get(name), function(way)
      it("ends a cat on a socketpair, whose other end is the parent's", function()
        superuser.needed()
        local mine, theirs = way.root:socketpair()
        local init = way.root:clone "CLONE_NEWPID|CLONE_FILES"
        local child = init:fork()
        local own = child:inherit(theirs)
        local cat = child:exec { "cat", stdin = own, stdout = own }
        theirs:close()
        mine:write "meow"
        assert.equal("meow", mine:read())
        assert.is_true(cat.pid > 1)
        init:exit(0)
        assert.equal("", afar.timeout(60, mine.read, mine))
        mine:close()
      end)

      it("ends the orphans of a shell that had ended before", function()
        superuser.needed()
        local from, to = way.root:pipe2()
        local init = way.root:clone "CLONE_NEWPID"
        local shell = init:fork()
        init:inherit(from):close()
        local status = shell:exec({ "sh", "-c", "sleep 1000 & echo started", stdout = shell:inherit(to) }):wait()
        assert.equal(0, status.code)
        to:close()
        assert.equal("started\n", from:read())
        init:inherit(to):close()
        assert.is_true(raised.err(afar.timeout, 0.05, from.read, from).timeout) -- the orphan has the pipe
        init:exit(0)
        assert.equal("", afar.timeout(60, from.read, from))
        from:close()
      end)
    end)
  end)
end
