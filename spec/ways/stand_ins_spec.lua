-- Ways whose tools can't run on a machine like this one (no daemon, no systemd, no cluster): a stand-in that takes the arguments as the tool's manual says, and
-- executes what it would execute. What is shown is that we call them rightly, and what we make of what they say.

local afar = require "afar"

local here = afar.here

-- Each reads its own options, up to the command, and writes what it has understood to "$LOG".
local TOOLS = {
  docker = [[
case $1 in
exec) new= ;;
run) new=1 ;;
*) echo "unknown command $1" >&2; exit 1 ;;
esac
echo "$1" >>"$LOG"; shift
while :; do
  case $1 in
  --interactive|--rm|--privileged|--*=*) echo "$1" >>"$LOG"; shift ;;
  -*) echo "unknown flag: $1" >&2; exit 125 ;;
  *) break ;;
  esac
done
echo "$1" >>"$LOG"
case $1 in
db|debian:12) ;;
empty)
  echo 'OCI runtime exec failed: exec failed: exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown' >&2
  exit 127 ;;
down) echo "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?" >&2; exit 1 ;;
*) echo "Error response from daemon: No such container: $1" >&2; exit 1 ;;
esac
shift
exec "$@"]],
  kubectl = [[
[ "$1" = exec ] || exit 1
shift
while [ "$1" != -- ]; do
  case $1 in
  --stdin|--*=*) echo "$1" >>"$LOG" ;;
  -*) echo "error: unknown flag: $1" >&2; exit 1 ;;
  web-1) echo "$1" >>"$LOG" ;;
  *) echo "Error from server (NotFound): pods \"$1\" not found" >&2; exit 1 ;;
  esac
  shift
done
shift
[ "${#3}" -lt 4096 ] || { echo "error: 414 URI Too Long" >&2; exit 1; }
exec "$@"]],
  ["lxc-attach"] = [[
name=
while [ "$1" != -- ]; do
  case $1 in
  --name=*) name=${1#--name=} ;;
  --clear-env|--lxcpath=*) echo "$1" >>"$LOG" ;;
  *) echo "lxc-attach: unrecognized option '$1'" >&2; exit 1 ;;
  esac
  shift
done
shift
[ "$name" = inner ] || { echo "lxc-attach: $name: ../src/lxc/attach.c: get_attach_context: 406 Connection refused - Failed to get init pid" >&2; exit 1; }
exec "$@"]],
  ["systemd-run"] = [[
pipe= machine=
while [ "$1" != -- ]; do
  case $1 in
  --pipe) pipe=1 ;;
  --wait|--collect|--quiet|--uid=*|--gid=*|--property=*|--slice=*|--unit=*|--working-directory=*|--user|--setenv=*|--nice=*) echo "$1" >>"$LOG" ;;
  --machine=*) machine=${1#--machine=}; echo "$1" >>"$LOG" ;;
  *) echo "systemd-run: unrecognized option '$1'" >&2; exit 1 ;;
  esac
  shift
done
shift
case $machine in
''|inner) ;;
*) echo "Failed to connect to bus: Host is down" >&2; exit 1 ;;
esac
[ "$pipe" ] || exec "$@" </dev/null >/dev/null
exec "$@"]],
}

describe("a stand-in of", function()
  local dir

  setup(function()
    dir = here:mkdtemp()
    for name, text in pairs(TOOLS) do
      here:write_file(dir .. "/" .. name, "#!/bin/sh\nLOG=" .. dir .. "/log\n" .. text .. "\n", { mode = "0755" })
    end
  end)
  teardown(function() here:remove_tree(dir) end)
  before_each(function() here:write_file(dir .. "/log", "") end)

  local function with(name, o)
    o = o or {}
    o.program = dir .. "/" .. name
    return o
  end

  --- What was logged, in one line, once the root is there and works.
  local function heard(far)
    assert.equal("works\n", far:run({ "echo", "works" }).stdout)
    far:disconnect()
    return (here:read_file(dir .. "/log"):gsub("\n$", ""):gsub("\n", " "))
  end

  local failure = require("spec.support.raised").named

  describe("docker", function()
    it("is told the container", function() assert.equal("exec --interactive db", heard(here:docker("db", with "docker"))) end)
    it("is told user, directory and privileges", function()
      local far = here:docker("db", with("docker", { user = "postgres", workdir = "/srv", privileged = true }))
      assert.equal("exec --interactive --privileged --user=postgres --workdir=/srv db", heard(far))
    end)
    it("is told to make a new one", function()
      local far = here:docker(with("docker", { image = "debian:12", volume = { "/a:/a", "/b:/b" } }))
      assert.equal("run --interactive --rm --volume=/a:/a --volume=/b:/b debian:12", heard(far))
    end)
    it("has no such container", function()
      local name, message = failure(here.docker, here, "nosuch", with "docker")
      assert.equal("no_container", name)
      assert.matches("No such container: nosuch", message)
    end)
    it("has no shell in it", function() assert.equal("no_shell", (failure(here.docker, here, "empty", with "docker"))) end)
    it("has no daemon", function() assert.equal("no_daemon", (failure(here.docker, here, "down", with "docker"))) end)
  end)

  describe("kubectl", function()
    it("is told the pod, and all that says where it is, in a short command", function()
      local far = here:kubectl("web-1", with("kubectl", { container = "app", namespace = "prod", context = "east" }))
      assert.equal("--stdin --container=app --context=east --namespace=prod web-1", heard(far))
    end)
    it("has no such pod", function()
      assert.equal("no_container", (failure(here.kubectl, here, "web-2", with "kubectl")))
    end)
  end)

  describe("lxc-attach", function()
    it("is told the container", function() assert.equal("--clear-env", heard(here:lxc_attach("inner", with("lxc-attach", { clear_env = true })))) end)
    it("has no such container", function() assert.equal("no_container", (failure(here.lxc_attach, here, "nosuch", with "lxc-attach"))) end)
  end)

  describe("systemd-run", function()
    it("is told what the unit shall have", function()
      local far = here:systemd_run(with("systemd-run", { uid = "nobody", property = { "MemoryMax=1G", "Nice=5" }, working_directory = "/" }))
      assert.equal("--wait --collect --quiet --property=MemoryMax=1G --property=Nice=5 --uid=nobody --working-directory=/", heard(far))
    end)
    it("is told the machine", function()
      assert.equal("--wait --collect --quiet --machine=inner", heard(here:machinectl("inner", with "systemd-run")))
    end)
    it("has no such machine", function() assert.is_truthy(failure(here.machinectl, here, "nosuch", with "systemd-run")) end)
  end)

  it("something that isn't there at all", function()
    local name, message = failure(here.docker, here, "db", { program = dir .. "/nothing" })
    assert.equal("ENOENT", name)
    assert.matches("is the program there", message)
  end)
end)
