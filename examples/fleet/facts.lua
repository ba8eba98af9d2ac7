--- What a machine says of itself: through system calls that answer in memory, and files of /proc.

local ffi = require "ffi"

local facts = {}

local GIB = 2 ^ 30

local function field(text, name) return tonumber(text:match(name .. ":%s+(%d+) kB")) * 1024 end

--- The file systems that have a device: { path =, size =, free = } in bytes, each device once.
local function disks(p)
  local list, seen = {}, {}
  for _, mount in ipairs(p:mounts()) do
    local device, path = mount.source, mount.target
    if (device:sub(1, 1) == "/" or path == "/") and not seen[device] then
      seen[device] = true
      local fs = p:statfs(path)
      list[#list + 1] = { path = path, size = fs.size, free = fs.free }
    end
  end
  return list
end

--- The ports on which something listens: state 0A in the tables of proc(5).
local function listening(p)
  local ports, seen = {}, {}
  for _, name in ipairs { "tcp", "tcp6" } do
    local _, text = pcall(p.read_file, p, "/proc/net/" .. name) -- without IPv6 there is no tcp6
    for port in tostring(text):gmatch "\n *%d+: %x+:(%x+) %x+:%x+ 0A " do
      port = tonumber(port, 16)
      if not seen[port] then ports[#ports + 1] = port end
      seen[port] = true
    end
  end
  table.sort(ports)
  return ports
end

--- The facts of the machine that `p` is on. Given a pointer, a method is exactly the system call of its name; the kernel's answer is then
--- in memory there, and pointer:read() brings it.
function facts.of(p)
  local uname, sysinfo = p:malloc "utsname", p:malloc "sysinfo"
  p:uname(uname)
  p:sysinfo(sysinfo)
  sysinfo = sysinfo:read()
  local memory = p:read_file "/proc/meminfo"
  return {
    kernel = ffi.string(uname:read().release),
    uptime = tonumber(sysinfo.uptime),
    load = tonumber(sysinfo.loads[0]) / 65536,
    memory = field(memory, "MemTotal"),
    available = field(memory, "MemAvailable"),
    disks = disks(p),
    ports = listening(p),
  }
end

local function duration(seconds)
  local minutes = (seconds - seconds % 60) / 60
  if minutes < 60 then return ("%d min"):format(minutes) end
  if minutes < 48 * 60 then return ("%.1f h"):format(minutes / 60) end
  return ("%.1f d"):format(minutes / 1440)
end

--- The same as texts, by the titles that a table gives them.
function facts.shown(found)
  local disk = found.disks[1]
  return {
    kernel = found.kernel,
    up = duration(found.uptime),
    load = ("%.2f"):format(found.load),
    ["free memory"] = ("%.1f of %.1f GiB"):format(found.available / GIB, found.memory / GIB),
    ["free disk"] = disk and ("%.1f of %.1f GiB"):format(disk.free / GIB, disk.size / GIB) or "none",
    listening = #found.ports .. " ports",
  }
end

return facts
