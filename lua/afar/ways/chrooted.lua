--- p:chrooted(dir, options): a root whose root directory is another, by chroot(1) of coreutils; it needs /bin/sh in there. user =
--- "name[:group]" as looked up in there; groups = "a,b". (p:fork():chroot(dir) is the system call alone, and needs nothing in there.)

local way = require "afar.way"

way.define("chrooted", {
  target = "the directory",
  program = "chroot",
  options = { "user", "groups", "skip_chdir" },
  rules = {
    { what = "denied", "Operation not permitted", message = "only who has CAP_SYS_CHROOT may do it" },
    { what = "missing", "cannot change root directory", message = "the directory can't be a root" },
    { what = "unknown_user", "invalid user", "invalid group", message = "there is no such user in it" },
  },
  words = function(_, dir, o)
    local flags = way.flags({ userspec = o.user, groups = o.groups, skip_chdir = o.skip_chdir }, { userspec = true, groups = true, skip_chdir = true })
    return way.join(flags, dir, way.SHELL)
  end,
})
