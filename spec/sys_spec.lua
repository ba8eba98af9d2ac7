local ctest = require "spec.sys.ctest"
local ffi = require "ffi"
local sys = require "afar.sys"

for _, m in ipairs(ctest.machines) do
  describe("afar.sys for " .. m.name, function()
    for name, data in ctest.modules() do
      it("has what the headers say: " .. name, function() assert.equal("", ctest.check(m, ctest.program(m, data))) end)
    end

    it("has the numbers of all system calls", function()
      assert.equal("", ctest.check(m, ctest.calls(m)))
      local of_a_header = { syscalls = true, arch_specific_syscall = true }
      local seen = 0
      for _, name in ipairs(ctest.header_calls(m)) do
        if not (of_a_header[name] or name:match "^3264_") then
          assert.is_number(m.nr[name], name)
          seen = seen + 1
        end
      end
      assert.is_true(seen > 300)
    end)

    it("has the calls that are newer than the headers", function()
      assert.same({ 451, 462, 469 }, { m.nr.cachestat, m.nr.mseal, m.nr.file_setattr })
      assert.equal("file_setattr", m.nr_name[469])
    end)

    it("has the structures that are newer than the headers, of the sizes that were published", function()
      local sizes = { pidfd_info = 64, mnt_id_req = 32, statmount = 512, xattr_args = 16, file_attr = 24, cachestat = 40 }
      for name, size in pairs(sizes) do
        assert.equal(size, ffi.sizeof(m.ctype[name]), name)
      end
    end)

    it("knows the parameters of every call but the long dead", function()
      local dead = "|afs_syscall|create_module|epoll_ctl_old|epoll_wait_old|get_kernel_syms|getpmsg|putpmsg|query_module|security"
        .. "|tuxcall|vserver|"
      for name in pairs(m.nr) do
        local known = m.signature[name]
        assert.equal(not dead:find("|" .. name .. "|", 1, true), known ~= nil, name)
        assert.is_true(#(known or {}) <= 6, name)
      end
    end)

    it("has a compiler that finds a wrong number, a wrong size and a wrong offset", function()
      local fcntl = { headers = { "linux/fcntl.h" }, constants = { O_CREAT = 0x41 } }
      assert.matches("O_CREAT is not 65", ctest.check(m, ctest.program(m, fcntl)))
      local time = { structs = "struct @timespec { int64_t tv_sec; int64_t tv_nsec; };" }
      local program = ctest.program(m, time)
      local function check(fields) return ctest.check(m, ("struct timespec { %s };\n"):format(fields) .. program) end
      assert.equal("", check "long tv_sec, tv_nsec;")
      assert.matches("sizeof struct timespec", check "long tv_sec, tv_nsec, more;")
      assert.matches("struct timespec.tv_nsec", check "long tv_nsec, tv_sec;")
    end)
  end)
end

describe("afar.sys", function()
  local x86, arm = unpack(ctest.machines)

  it("gives no name two values", function()
    for _, m in ipairs(ctest.machines) do
      local owner = {}
      for module, data in ctest.modules() do
        local own = data[m.name] or {}
        for _, group in pairs { data.constants, data.newer or {}, data.unchecked or {}, own.constants or {} } do
          for name, value in pairs(group) do
            assert.is_true(m.C[name] == value, ("%s of %s, also in %s"):format(name, module, owner[name] or "?"))
            owner[name] = module
          end
        end
      end
    end
  end)

  it("knows a machine by its name and by ELF's number, once", function()
    assert.equal(x86, sys.machine "x86_64")
    assert.equal(x86, sys.machine(62))
    assert.equal(arm, sys.machine(183))
    assert.equal("aarch64", arm.name)
  end)

  it("says which machines it does not know", function()
    local m, message = sys.machine "mips"
    assert.is_nil(m)
    assert.matches("unknown architecture mips", message)
  end)

  it("keeps the architectures apart", function()
    assert.same({ 0x10000, 0x4000 }, { x86.C.O_DIRECTORY, arm.C.O_DIRECTORY })
    assert.same({ 257, 56 }, { x86.nr.openat, arm.nr.openat })
    assert.is_nil(arm.nr.open)
    assert.same({ 12, 16 }, { ffi.sizeof(x86.ctype.epoll_event), ffi.sizeof(arm.ctype.epoll_event) })
    assert.same({ 144, 128 }, { ffi.sizeof(x86.ctype.stat), ffi.sizeof(arm.ctype.stat) })
    assert.equal("tls", arm.signature.clone[4])
  end)

  it("names errors, both ways", function()
    assert.equal("ENOENT", x86.errno[2])
    assert.equal("EAGAIN", x86.errno[x86.C.EWOULDBLOCK])
    assert.equal("No such file or directory", sys.strerror "ENOENT")
    assert.equal("Resource temporarily unavailable", sys.strerror "EWOULDBLOCK")
    assert.is_nil(sys.strerror "ENOTHING")
  end)

  it("can be loaded anew, with the structures there already", function()
    local before = package.loaded["afar.sys.machine"]
    package.loaded["afar.sys.machine"] = nil
    local again = require "afar.sys.machine" "x86_64"
    package.loaded["afar.sys.machine"] = before
    assert.equal(x86.ctype.stat, again.ctype.stat)
  end)
end)

describe("machine:const", function()
  local m = assert(sys.machine "x86_64")
  local function message(...)
    local ok, err = pcall(m.const, m, ...)
    assert.is_false(ok)
    return err
  end

  it("takes numbers, nothing, text and lists", function()
    assert.equal(7, m:const(7))
    assert.equal(0, m:const(nil))
    assert.equal(0x80002, m:const "O_RDWR|O_CLOEXEC")
    assert.equal(0x80002, m:const " O_RDWR | O_CLOEXEC ")
    assert.equal(0x80012, m:const { "O_RDWR", "O_CLOEXEC|0x10" })
    assert.equal(0x3, m:const { 1, 2 })
  end)

  it("needs neither the prefix nor capitals", function()
    assert.equal(0x80002, m:const("rdwr|CLOEXEC", "O_"))
    assert.equal(9, m:const("kill", "SIG"))
    assert.equal(m.C.S_IRUSR, m:const("S_IRUSR", "O_"))
  end)

  it("keeps the sign, and all 64 bits", function()
    assert.equal(-100, m:const "AT_FDCWD")
    assert.equal(0xffffffffffffffffULL, m:const "RLIM_INFINITY")
    assert.equal(0x80000001, m:const "EPOLLET|EPOLLIN")
    assert.equal(2 ^ 40 + 1, m:const "0x10000000000|1")
    assert.equal(0x8000000000000001ULL, m:const { 0x8000000000000000ULL, 1 })
  end)

  it("says which name it does not know, and which is near", function()
    local near = 'open: there is no constant "O_RDONYL" (did you mean "O_RDONLY"?)'
    assert.equal(near, message("O_RDONYL", "O_", "open"))
    assert.equal('open: there is no constant "rdonyl" (did you mean "O_RDONLY"?)', message("rdonyl", "O_", "open"))
    assert.equal('there is no constant "XYZZY_PLUGH"', message("O_RDWR|XYZZY_PLUGH", "O_"))
    assert.equal('there is no constant ""', message("", "O_"))
    assert.matches('no constant "nan"', message "nan")
    assert.matches("not a boolean", message(true))
  end)
end)

describe("machine:names", function()
  local m = assert(sys.machine "x86_64")
  local function shows(text, value, prefix) assert.equal(text, m:names(value, prefix)) end

  it("shows flags", function()
    shows("O_RDWR|O_CLOEXEC", 0x80002, "O_")
    shows("O_RDONLY|O_NONBLOCK|O_CLOEXEC", 0x80800, "O_")
    shows("O_WRONLY|O_SYNC", 0x101001, "O_")
    shows("MAP_PRIVATE|MAP_ANONYMOUS", 0x22, "MAP_")
    shows("SOCK_DGRAM|SOCK_CLOEXEC", 0x80002, "SOCK_")
    shows("AT_SYMLINK_NOFOLLOW|AT_EMPTY_PATH", 0x1100, "AT_")
  end)

  it("shows the one of many", function()
    shows("O_RDONLY", 0, "O_")
    shows("SIGABRT", 6, "SIG")
    shows("AF_UNIX", 1, "AF_")
    shows("AT_FDCWD", -100, "AT_")
    shows("RLIM_INFINITY", 0xffffffffffffffffULL, "RLIM_")
  end)

  it("shows the rest as a number", function()
    shows("O_WRONLY|0x10000000000", 2 ^ 40 + 1, "O_")
    shows("77", 77, "AF_")
    shows("-7", -7, "O_")
  end)

  it("is what const takes", function()
    for _, value in ipairs { 0, 1, 0x80002, 0x101001, 0x410002, 0x1000000 } do
      assert.equal(value, m:const(m:names(value, "O_"), "O_"))
    end
  end)
end)
