--- An older kernel: a process in which system calls answer ENOSYS, as all below it do, by a seccomp filter.

local ffi = require "ffi"

local old_kernel = {}

local AUDIT_ARCH = { x86_64 = 0xc000003e, aarch64 = 0xc00000b7 }
local AT_NR, AT_ARCH = 0, 4

--- { code, jump if true, jump if false, k } of each instruction.
local function program(sys, calls)
  local C = sys.C
  local load, equal, give = C.BPF_LD + C.BPF_W + C.BPF_ABS, C.BPF_JMP + C.BPF_JEQ + C.BPF_K, C.BPF_RET + C.BPF_K
  local list = { { load, 0, 0, AT_ARCH }, { equal, 1, 0, AUDIT_ARCH[sys.name] }, { give, 0, 0, C.SECCOMP_RET_ALLOW }, { load, 0, 0, AT_NR } }
  for _, name in ipairs(calls) do
    list[#list + 1] = { equal, 0, 1, assert(sys.nr[name], name) }
    list[#list + 1] = { give, 0, 0, C.SECCOMP_RET_ERRNO + C.ENOSYS }
  end
  list[#list + 1] = { give, 0, 0, C.SECCOMP_RET_ALLOW }
  return list
end

--- From now on, the calls answer ENOSYS in this process and in all that it clones and executes.
---@param p afar.Process
---@param calls string[]
function old_kernel.install(p, calls)
  local sys = p.machine.sys
  local list = program(sys, calls)
  local code = ffi.new(ffi.typeof("$[?]", sys.ctype.sock_filter), #list)
  for i, one in ipairs(list) do code[i - 1].code, code[i - 1].jt, code[i - 1].jf, code[i - 1].k = one[1], one[2], one[3], one[4] end
  local memory = p:ptr(ffi.string(code, ffi.sizeof(code)))
  local head = ffi.new(sys.ctype.sock_fprog)
  head.len, head.filter = #list, memory.address
  p:prctl("PR_SET_NO_NEW_PRIVS", 1)
  p:syscall("seccomp", sys.C.SECCOMP_SET_MODE_FILTER, 0, p:ptr(head))
end

return old_kernel
