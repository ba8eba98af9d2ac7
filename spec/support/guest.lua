--- A machine of the other architecture, emulated as a whole: Debian's own kernel, on which the stub is the init, and speaks over the serial line. Beside
--- the stub there is busybox. All of it is made at each start, and is gone with its root.

local afar = require "afar"

local guest = {}

local IMAGES = "/usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64/"
local QEMU = "qemu-system-aarch64"

-- What it has beside the stub, of the installer's own initrd: all that busybox needs to run.
local FILES = { "bin/busybox", "lib/ld-linux-aarch64.so.1", "lib/aarch64-linux-gnu/ld-linux-aarch64.so.1" }
for _, name in ipairs { "libc", "libresolv", "libm" } do FILES[#FILES + 1] = ("lib/aarch64-linux-gnu/%s.so*"):format(name) end

local APPLETS = { "sh", "cat", "echo", "uname", "sleep", "true", "base64", "gzip", "chmod", "rm", "mkdir", "stty", "head", "hostname", "id" }

local PACK = [[
set -ef
cd "$1"; images=$2; files=$3; applets=$4
zcat "$images/initrd.gz" | busybox cpio -id $files 2>/dev/null
for applet in $applets; do ln -s busybox "bin/$applet"; done
mkdir proc sys dev tmp root
find . | busybox cpio -o -H newc 2>/dev/null | gzip -1]]

--- Why there can be none; nil: there can.
function guest.missing()
  local here = afar.here
  if not here:run({ "sh", "-c", "command -v " .. QEMU, check = false }).status.ok then return "needs " .. QEMU end
  if not pcall(here.access, here, IMAGES .. "linux", "R_OK") then return "needs debian-installer-12-netboot-arm64, for its kernel" end
end

--- The initramfs, in a file.
local function pack(dir)
  local here = afar.here
  here:mkdir(dir .. "/files", "0755")
  here:write_file(dir .. "/files/init", require("afar.stubs").aarch64, { mode = "0755" })
  local out = here:open(dir .. "/initramfs", "O_WRONLY|O_CREAT", "0600")
  here:run {
    "sh", "-c", PACK, "sh", dir .. "/files", IMAGES, table.concat(FILES, " "), table.concat(APPLETS, " "), stdout = out,
  }
  out:close()
end

--- Starts it. The way to it is the emulator's stdin and stdout, which are its serial line; nothing that the kernel says is to come there.
---@return afar.Process root  its init
function guest.start()
  return afar.here:with_tempdir(function(dir)
    pack(dir)
    local root = afar.here:bootstrap {
      QEMU, "-M", "virt", "-cpu", "cortex-a57", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
      "-kernel", IMAGES .. "linux", "-initrd", dir .. "/initramfs",
      "-append", ("console=ttyAMA0 loglevel=0 panic=-1 rdinit=/init -- %s 0 1"):format(afar.MARKER), name = "guest",
    }
    root:mount("proc", "/proc", "proc")
    root:mount("devtmpfs", "/dev", "devtmpfs")
    return root
  end)
end

return guest
