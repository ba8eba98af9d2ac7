-- eventfd, timerfd, epoll: counters and timers that wait in coroutines, and epoll's own calls.

local afar = require "afar"
local ffi = require "ffi"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local message = require("spec.support.raised").message

ways.each(function(way)
  local p

  before_each(function() p = way.root:fork() end)
  after_each(function() p:exit() end)

  describe("eventfd", function()
    it("gives what was written", function()
      local fd = p:eventfd()
      fd:eventfd_write(10)
      assert.equal(10, fd:eventfd_read())
    end)

    it("starts with a count, and adds", function()
      local fd = p:eventfd(5)
      fd:eventfd_write(2)
      assert.equal(7, fd:eventfd_read())
    end)

    it("waits for a count, without blocking the process", function()
      local fd, got = p:eventfd(), nil
      afar.nursery(function(n)
        n:spawn(function() got = fd:eventfd_read() end)
        afar.sleep(0.02)
        assert.is_nil(got)
        fd:eventfd_write(1)
      end)
      assert.equal(1, got)
    end)

    it("wakes one for each count of a semaphore", function()
      local fd, woken = p:eventfd(0, "EFD_SEMAPHORE"), 0
      afar.nursery(function(n)
        for _ = 1, 3 do
          n:spawn(function()
            local one = fd:eventfd_read()
            woken = woken + one
          end)
        end
        fd:eventfd_write(2)
        assert.is_true(probe.soon(function() return woken == 2 end))
        afar.sleep(0.02)
        assert.equal(2, woken)
        fd:eventfd_write(1)
      end)
      assert.equal(3, woken)
    end)

    it("counts beyond what a number holds", function()
      local fd = p:eventfd()
      fd:eventfd_write(0xfffffffffffffffdULL)
      assert.is_true(fd:eventfd_read() == 0xfffffffffffffffdULL)
      fd:eventfd_write(0xfffffffffffffffeULL)
      assert.equal("EAGAIN", select(2, afar.try(fd.eventfd_write, fd, 1)).name)
    end)

    it("refuses what is no count", function()
      local fd = p:eventfd()
      assert.matches("eventfd_write: %-1 is no count", message(fd.eventfd_write, fd, -1))
      assert.matches("is no count", message(fd.eventfd_write, fd, "1"))
      assert.matches("from 0 to 2%^32", message(p.eventfd, p, 2 ^ 32))
      assert.matches('there is no constant "EFD_SEMAFORE"', message(p.eventfd, p, 0, "EFD_SEMAFORE"))
    end)
  end)

  describe("timerfd", function()
    it("tells what was set", function()
      local fd = p:timerfd_create "CLOCK_REALTIME"
      assert.same({ it_value = 0, it_interval = 0 }, fd:timerfd_settime(0, { it_value = 100, it_interval = 4.1 }))
      local left = fd:timerfd_gettime()
      assert.is_true(left.it_value > 50 and left.it_value <= 100)
      assert.near(4.1, left.it_interval, 1e-9)
      local old = fd:timerfd_settime(0, 0)
      assert.is_true(old.it_value > 50)
      assert.near(4.1, old.it_interval, 1e-9)
      assert.same({ it_value = 0, it_interval = 0 }, fd:timerfd_gettime())
    end)

    it("expires, and again after each interval", function()
      local fd = p:timerfd_create()
      fd:timerfd_settime(nil, { it_value = 0.02, it_interval = 0.01 })
      assert.is_true(fd:expirations() >= 1)
      afar.sleep(0.05)
      assert.is_true(fd:expirations() >= 3)
    end)

    it("waits without blocking its process", function()
      local fd, times = p:timerfd_create(), nil
      afar.nursery(function(n)
        n:spawn(function() times = fd:expirations() end)
        assert.equal(p.pid, p:getpid())
        assert.is_nil(times)
        fd:timerfd_settime(nil, 0.02)
      end)
      assert.equal(1, times)
    end)

    it("takes a point in time", function()
      local fd = p:timerfd_create "CLOCK_REALTIME"
      fd:timerfd_settime("TFD_TIMER_ABSTIME", os.time() - 1)
      assert.equal(1, fd:expirations())
    end)

    it("makes the system call with pointers", function()
      local fd = p:timerfd_create()
      local new = p:ptr({ it_value = { tv_sec = 50 } }, "itimerspec")
      local old = p:malloc "itimerspec"
      fd:timerfd_settime(0, new, old)
      assert.equal(0, tonumber(old:read().it_value.tv_sec))
      fd:timerfd_gettime(old)
      local left = tonumber(old:read().it_value.tv_sec)
      assert.is_true(left >= 20 and left <= 50)
    end)

    it("refuses what is no time", function()
      local fd = p:timerfd_create()
      assert.matches("a time is a number of seconds, not nan", message(fd.timerfd_settime, fd, 0, 0 / 0))
      assert.matches("it_value = seconds", message(fd.timerfd_settime, fd, 0, "1"))
      assert.matches('no constant "CLOCK_MONOTONOUS"', message(p.timerfd_create, p, "CLOCK_MONOTONOUS"))
      assert.equal("EINVAL", select(2, afar.try(fd.timerfd_settime, fd, 0, -1)).name)
    end)
  end)

  describe("epoll", function()
    it("reports what is there, with its data", function()
      local epfd, from, to = p:epoll_create1(), p:pipe2()
      epfd:epoll_ctl("EPOLL_CTL_ADD", from, "EPOLLIN")
      epfd:epoll_ctl("EPOLL_CTL_ADD", to, { events = "EPOLLOUT|EPOLLONESHOT", data = 2 ^ 40 + 1 })
      assert.same({ { data = 2 ^ 40 + 1, events = 4, EPOLLOUT = true } }, epfd:epoll_wait())
      to:write "x"
      assert.same({ { data = from.number, events = 1, EPOLLIN = true } }, epfd:epoll_wait())
    end)

    it("waits without blocking its process, and no longer than it is told", function()
      local epfd, from, to = p:epoll_create1(), p:pipe2()
      epfd:epoll_ctl("EPOLL_CTL_ADD", from, "EPOLLIN|EPOLLET")
      assert.same({}, epfd:epoll_wait(8, 0))
      assert.same({}, epfd:epoll_wait(8, 20))
      local events
      afar.nursery(function(n)
        n:spawn(function() events = epfd:epoll_wait() end)
        afar.sleep(0.02)
        assert.is_nil(events)
        to:write "x"
      end)
      assert.is_true(events[1].EPOLLIN)
      assert.same({}, epfd:epoll_wait(8, 0)) -- edge-triggered
    end)

    it("changes and ends what is watched", function()
      local epfd, from, to = p:epoll_create1(), p:pipe2()
      to:write "x"
      epfd:epoll_ctl("EPOLL_CTL_ADD", from, "EPOLLIN")
      epfd:epoll_ctl("EPOLL_CTL_MOD", from, 0)
      assert.same({}, epfd:epoll_wait(8, 0))
      epfd:epoll_ctl("EPOLL_CTL_DEL", from)
      assert.equal("ENOENT", select(2, afar.try(epfd.epoll_ctl, epfd, "EPOLL_CTL_DEL", from)).name)
    end)

    it("packs its events as the architecture does", function()
      local epfd = p:epoll_create1()
      local write = {}
      for i = 1, 3 do
        write[i] = p:eventfd(1)
        epfd:epoll_ctl("EPOLL_CTL_ADD", write[i], { events = "EPOLLIN|EPOLLOUT", data = 0xffff000000000000ULL + i })
      end
      local seen = {}
      for _, event in ipairs(epfd:epoll_wait()) do
        assert.equal(5, event.events)
        seen[tonumber(event.data - 0xffff000000000000ULL)] = true
      end
      assert.same({ true, true, true }, seen)
    end)

    it("makes the system call with a pointer", function()
      local epfd, fd = p:epoll_create1(), p:eventfd(1)
      epfd:epoll_ctl("EPOLL_CTL_ADD", fd, { events = "EPOLLIN", data = 77 })
      local ptr = p:malloc("epoll_event", 4)
      assert.equal(1, epfd:epoll_wait(ptr, 4, 0))
      assert.equal(77, tonumber(ptr:read()[0].data))
    end)

    it("is inherited by a child, and works there", function()
      way:needs "shared memory between processes"
      local epfd = p:epoll_create1()
      local child = p:fork()
      local own = child:inherit(epfd)
      local fd = child:eventfd(1)
      own:epoll_ctl("EPOLL_CTL_ADD", fd, "EPOLLIN")
      assert.equal(fd.number, own:epoll_wait()[1].data)
      probe.works(child)
      child:exit()
    end)

    it("refuses bad input", function()
      local epfd, fd = p:epoll_create1(), p:open "/etc/hosts"
      assert.equal("EPERM", select(2, afar.try(epfd.epoll_ctl, epfd, "EPOLL_CTL_ADD", fd, "EPOLLIN")).name)
      assert.matches('no constant "EPOLL_CTL_AD"', message(epfd.epoll_ctl, epfd, "EPOLL_CTL_AD", fd, "EPOLLIN"))
      assert.matches("maxevents is a number", message(epfd.epoll_wait, epfd, 0))
      assert.matches("data is a number", message(epfd.epoll_ctl, epfd, "EPOLL_CTL_ADD", fd, { events = "EPOLLIN", data = "x" }))
    end)
  end)

  describe("several waits", function()
    it("work side by side, again and again", function()
      for _ = 1, 3 do
        afar.nursery(function(n)
          for _ = 1, 5 do n:spawn(probe.works, p) end
        end)
      end
    end)

    it("work through a second handle to the same file", function()
      local from, to = p:pipe2()
      local copy, got = to:dup(), nil
      afar.nursery(function(n)
        n:spawn(function() got = from:read() end)
        copy:write "hello"
      end)
      assert.equal("hello", got)
    end)
  end)
end)

it("a count of 8 bytes is a number where that is exact", function()
  local counter = require "afar.counter"
  assert.equal(2 ^ 53, counter.decode(counter.encode(2 ^ 53)))
  assert.is_true(ffi.istype("uint64_t", counter.decode(counter.encode(2 ^ 53 * 2))))
end)

it("a call that may block is made by an emulated root itself", function()
  local way = ways.get "under qemu-user"
  local root = way:open()
  local epfd = root:epoll_create1()
  assert.equal(0, epfd:epoll_wait(root:malloc("epoll_event", 4), 4, 0))
  root:disconnect()
end)
