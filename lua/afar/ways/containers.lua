--- p:podman(container), p:docker(container), p:crun(container), p:runc(container), p:lxc_attach(container), p:kubectl(pod): a root in a
--- container that runs. It needs /bin/sh in there. Options of podman, docker, crun and runc: user, workdir; of podman and docker also
--- privileged; of lxc_attach: clear_env, lxcpath; of kubectl: container, namespace, context, kubeconfig. p:podman{ image = "debian", ... }
--- and p:docker{ image = ... }: in a new container, which is removed at its end.

local process = require "afar.process"
local way = require "afar.way"

local RULES = {
  {
    what = "no_container", "[Nn]o such container", "no container with name", "does not exist", "is not running", "can only create exec sessions on running",
    "not found", "not defined", "Failed to get init pid", "cannot exec in a stopped", "error opening file .*/status",
    message = "there is no such container that runs",
  },
  { what = "no_daemon", "Cannot connect to the Docker daemon", "connection to the server", message = "its service does not answer" },
  { what = "denied", "[Pp]ermission denied", "not permitted", "Forbidden", message = "it is not allowed" },
}
table.insert(RULES, 1, {
  what = "no_shell", "/bin/sh.*[Nn]o such file", "/bin/sh.*not found", "/bin/sh. not found", "no such file or directory.*/bin/sh",
  message = "there is no /bin/sh in it", hint = "p:nsenter or a fork's setns into the namespaces of its process",
})

local function flags_of(o, names)
  local known = {}
  for _, name in ipairs(names) do known[name] = true end
  return way.flags(o, known)
end

local function name_of(_, container) return container end

--- crun and runc: an OCI runtime itself.
for _, program in ipairs { "crun", "runc" } do
  way.define(program, {
    target = "the container", options = { "user", "cwd" }, rules = RULES, label = name_of,
    words = function(_, container, o) return way.join("exec", flags_of(o, { "user", "cwd" }), container, way.SHELL) end,
  })
end

local IN = { "user", "workdir", "privileged" }
local RUN = { "user", "workdir", "privileged", "volume", "network", "hostname", "mount", "pod", "pull", "rootfs", "read_only", "cap_add", "cap_drop" }

--- podman and docker: what runs, or a new one.
for _, program in ipairs { "podman", "docker" } do
  local into = {
    target = "the container", options = IN, rules = RULES, label = name_of,
    words = function(_, container, o) return way.join("exec", "--interactive", flags_of(o, IN), container, way.SHELL) end,
  }
  local new = {
    options = way.join(RUN, "image"), rules = RULES,
    label = function(_, _, o) return tostring(o.image) end,
    words = function(p, _, o)
      local image = way.check_word(p, program, "image", o.image)
      return way.join("run", "--interactive", "--rm", flags_of(o, RUN), image, way.SHELL)
    end,
  }
  local exec, run = way.method(program, into), way.method(program, new)
  process.define(program, function(self, target, o)
    if type(target) == "table" then return run(self, target) end
    return exec(self, target, o)
  end)
end

way.define("lxc_attach", {
  program = "lxc-attach", target = "the container", options = { "clear_env", "lxcpath" }, rules = RULES, label = name_of,
  words = function(_, container, o)
    return way.join("--name=" .. container, flags_of(o, { "clear_env", "lxcpath" }), "--", way.SHELL)
  end,
})

--- The command is part of a URL there, and proxies refuse long ones.
way.define("kubectl", {
  target = "the pod", options = { "container", "namespace", "context", "kubeconfig" }, rules = RULES, label = name_of,
  words = function(_, pod, o)
    return way.join("exec", "--stdin", flags_of(o, { "container", "namespace", "context", "kubeconfig" }), pod, "--", way.SHELL)
  end,
  extra = function(_, _, _, opts) opts.brief = true end,
})

