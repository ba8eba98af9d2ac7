--- A root file system of busybox alone, and a bundle of it for OCI runtimes.

local rootfs = {}

local APPLETS = { "sh", "cat", "ls", "base64", "uname", "umask", "id", "mkdir", "rm", "chmod", "echo", "stty", "sleep", "pwd", "true", "env" }

--- Makes it in `dir`.
---@param p afar.Process
function rootfs.make(p, dir)
  for _, name in ipairs { "", "/bin", "/proc", "/dev", "/sys", "/tmp", "/etc", "/root" } do p:mkdir(dir .. name, "0755") end
  p:chmod(dir .. "/tmp", tonumber("1777", 8))
  p:run { "cp", p:run({ "sh", "-c", "command -v busybox" }).stdout:gsub("\n$", ""), dir .. "/bin/busybox" }
  for _, name in ipairs(APPLETS) do p:symlink("busybox", dir .. "/bin/" .. name) end
  p:run { "mknod", "-m", "666", dir .. "/dev/null", "c", "1", "3" }
  p:write_file(dir .. "/etc/passwd", "root:x:0:0::/root:/bin/sh\nguest:x:1234:1234::/tmp:/bin/sh\n", { mode = "0644" })
end

--- A bundle in `dir`, whose process sleeps.
---@param runtime string  the program that knows how
function rootfs.bundle(p, dir, root, runtime)
  p:mkdir(dir, "0755")
  p:run { runtime, "spec", cwd = dir }
  local text = p:read_file(dir .. "/config.json")
  text = text:gsub('"terminal": true', '"terminal": false'):gsub('"readonly": true', '"readonly": false')
  text = text:gsub('"args": %[%s*"sh"%s*%]', '"args": ["sleep", "1000"]'):gsub('"path": "rootfs"', ('"path": %q'):format(root))
  p:write_file(dir .. "/config.json", text)
end

return rootfs
