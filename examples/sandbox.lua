-- A sandbox: a program in namespaces of its own, without network, with a root that it can't write to, as nobody special.
--
--   afar examples/sandbox.lua [PROGRAM ARGUMENT...]
--
-- No privilege is needed: in a new user namespace the process may mount. Each step is a system call, made in the process from outside.

local afar = require "afar"

local SHOW = [[
  echo "processes: $(ls -d /proc/[0-9]* | wc -l), pid $$"
  echo "interfaces: $(tail -n +3 /proc/net/dev | grep -c -v lo:) besides lo"
  touch /usr/x 2>/dev/null && echo "wrote to /usr" || echo "can't write to /usr"
  echo private > /tmp/x && echo "/tmp is its own: $(ls /tmp)"
  echo "routes: $(tail -n +2 /proc/net/route | wc -l)"
  grep -E "^(CapEff|NoNewPrivs)" /proc/self/status
]]
local command = #arg > 0 and { unpack(arg) } or { "sh", "-c", SHOW }

-- The outer one only waits: processes of a pid namespace see the /proc that is mounted by one of them.
local init = afar.here:clone "CLONE_NEWUSER|CLONE_NEWNS|CLONE_NEWPID|CLONE_NEWNET|CLONE_NEWIPC|CLONE_NEWUTS"
local p = init:clone "CLONE_NEWNS"

-- Nothing that is mounted here is seen outside, nor the other way round.
p:mount("none", "/", nil, "MS_REC|MS_PRIVATE")
p:mount("tmpfs", "/tmp", "tmpfs", "MS_NOSUID|MS_NODEV")

-- The root, mounted upon itself with all that is below it: read-only, and then what the program may write to or must see its own of.
p:mkdir "/tmp/root"
p:mount("/", "/tmp/root", nil, "MS_BIND|MS_REC")
p:open("/tmp/root", "O_PATH"):mount_setattr("", "AT_EMPTY_PATH|AT_RECURSIVE", { attr_set = "MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID" })
p:mount("tmpfs", "/tmp/root/tmp", "tmpfs", "MS_NOSUID|MS_NODEV")
p:mount("proc", "/tmp/root/proc", "proc", "MS_NOSUID|MS_NODEV|MS_NOEXEC")
p:chroot "/tmp/root"
p:chdir "/"

-- What it may never get back, also not by programs with set-user-id; and no capabilities: those of the namespace go too.
p:prctl("PR_SET_NO_NEW_PRIVS", 1)
p:prctl("PR_SET_SECUREBITS", 1) -- SECBIT_NOROOT: user 0 in here is nothing special
p:capset { effective = {}, permitted = {}, inheritable = {} }

command.env = { PATH = "/usr/bin:/bin", HOME = "/tmp" }
command.clean_env = true
local status = p:exec(command):wait()
print(status)
init:exit(0) -- and with it all that is left in there
os.exit(status.ok, true)
