--- The ways into other processes besides ssh, and what rests on them.

for _, name in ipairs { "sudo", "su", "doas", "setpriv", "chrooted", "nsenter", "bwrap", "containers", "systemd", "srun" } do
  require("afar.ways." .. name)
end
