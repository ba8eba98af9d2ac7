--- A machine inside the machine, for what changes it: users, sudoers and services in an /etc of its own, seen by nobody else. Needs root, as `unshare` and
--- `mount` do.

local afar = require "afar"

local house = {}

-- Bound over the real ones, and empty at first.
local SETUP = [[
set -e
d=$1
shift
mount -t tmpfs -o mode=755 house "$d"
mkdir "$d/etc" "$d/run" "$d/lib" "$d/home"
cp -a /etc/. "$d/etc/"
mount --bind "$d/etc" /etc
mount --bind "$d/run" /run
mount --bind "$d/lib" /var/lib/sudo 2>/dev/null || :
mount --bind "$d/home" /home
umount -l "$d"
rmdir "$d"
mkdir /run/sshd
exec sh -c "$1"
]]

--- Why there can be none; nil: there can.
function house.missing()
  if afar.here:getuid() ~= 0 then return "needs root" end
  local tried = afar.here:run { "unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt", check = false }
  if not tried.status.ok then return "needs to be allowed to mount" end
end

--- A root in a new one.
---@return afar.Process
function house.new()
  local dir = afar.here:mkdtemp()
  return afar.here:bootstrap {
    "unshare", "--mount", "--propagation", "private", "sh", "-c", SETUP, "sh", dir, afar.SCRIPT, name = "house",
  }
end

--- A user in there, with a password.
function house.add_user(root, name, password)
  root:run { "useradd", "--create-home", "--shell", "/bin/sh", name }
  root:run { "chpasswd", "--crypt-method", "SHA512", stdin = ("%s:%s\n"):format(name, password) }
end

return house
