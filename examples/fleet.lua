-- A fleet: what is done on one machine is a function of a process there, and a nursery does it on all machines side by side.
--
--   afar examples/fleet.lua [SSH_CONFIG [HOST...]]      make demo: three hosts behind a throwaway sshd
--
-- On each host: facts, a site and its configuration, a web server, a page from it, its log as it grows. Nothing of it stays: what is deferred is
-- done at the end, also after an error, a lost connection or Ctrl-C.

package.path = (arg[0]:match "^.*/" or "./") .. "?.lua;" .. package.path

local afar = require "afar"
local facts = require "fleet.facts"
local follow = require "fleet.follow"
local web = require "fleet.web"

local REQUESTS = { "/", "/missing", "/index.html?page=2" }

local function say(name, text) print(("  %-8s %s"):format(name, text)) end

--- Does `f` with each machine, side by side, and tells how long it took.
local function step(title, machines, f)
  print(title)
  local start = afar.now()
  afar.nursery(function(n)
    for _, m in ipairs(machines) do n:spawn(f, m) end
  end)
  print(("  %.2f s"):format(afar.now() - start))
end

-- ---- what is done on one machine ----

local function connect(m)
  m.root = afar.here:ssh(m.host, { config = m.config })
  m.n:defer(m.root.disconnect, m.root)
  m.p = m.root:fork()
  m.n:defer(m.p.exit, m.p)
  say(m.host, ("%s, process %d of uid %d"):format(m.root.machine.hello.machine_name, m.p.pid, m.p:getuid()))
end

local function gather(m)
  m.facts = facts.of(m.p)
  m.shown = facts.shown(m.facts)
  local ports = m.facts.ports
  local more = #ports > 6 and " and others" or ""
  local shown = table.concat(ports, " ", 1, math.min(#ports, 6)) .. more
  say(m.host, ("Linux %s, %s free memory, listening on %s"):format(m.facts.kernel, m.shown["free memory"], shown))
end

local function temporary_directory(m)
  local dir = m.p:mkdtemp(("%s/afar-fleet-%s-XXXXXX"):format(m.p.environ.TMPDIR or "/tmp", m.host))
  m.n:defer(m.p.remove_tree, m.p, dir)
  return dir
end

local function configure(m)
  local page = ("<h1>%s</h1>\n<p>Linux %s, up %s, load %s</p>\n"):format(m.host, m.facts.kernel, m.shown.up, m.shown.load)
  m.site = web.configure(m.p, temporary_directory(m), page)
  say(m.host, ("%s, port %d"):format(m.site.dir, m.site.port))
end

local function stop(server)
  server:kill "SIGTERM"
  if not afar.try(afar.timeout, 3, server.wait, server) then server:kill "SIGKILL" end -- one that has just started may miss the first
  server:wait()
end

local function serve(m)
  local server = web.start(m.site)
  m.n:defer(stop, server)
  say(m.host, ("nginx is pid %d there"):format(server.pid))
end

local function ask(m)
  local status, body = web.get(m.site, "/")
  m.shown.page = ("%d, %d bytes"):format(status, #body)
  say(m.host, ("%d %s"):format(status, body:match "<h1>.-</p>":gsub("\n", "")))
end

local function visit(m)
  for _, path in ipairs(REQUESTS) do
    afar.sleep(0.4)
    web.get(m.site, path)
  end
end

--- Follows the log, while visitors make it grow.
local function watch(m)
  local lines, close = follow(m.p, m.site.log)
  m.lines = 0
  afar.nursery(function(n)
    n:defer(close)
    n:spawn(visit, m)
    for line in lines do
      say(m.host, line)
      m.lines = m.lines + 1
      if m.lines == #REQUESTS then break end
    end
  end)
  m.shown.log = m.lines .. " lines"
end

-- ---- what is shown at the end ----

local COLUMNS = { "host", "kernel", "up", "load", "free memory", "free disk", "listening", "page", "log" }

local function show(machines)
  local rows, widths = { {} }, {}
  for _, title in ipairs(COLUMNS) do rows[1][title] = title end
  for _, m in ipairs(machines) do
    m.shown.host = m.host
    rows[#rows + 1] = m.shown
  end
  for _, row in ipairs(rows) do
    for _, title in ipairs(COLUMNS) do widths[title] = math.max(widths[title] or 0, #row[title]) end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, title in ipairs(COLUMNS) do cells[i] = row[title] .. (" "):rep(widths[title] - #row[title]) end
    print((table.concat(cells, "  "):gsub(" +$", "")))
  end
end

local function main(config, ...)
  io.stdout:setvbuf "line"
  local hosts = select("#", ...) > 0 and { ... } or { "afar1", "afar2", "afar3" }
  afar.nursery(function(n)
    local machines = {}
    for i, host in ipairs(hosts) do machines[i] = { host = host, config = config, n = n } end
    step("Connecting over ssh", machines, connect)
    step("Gathering facts", machines, gather)
    step("Writing a site and a configuration", machines, configure)
    step("Starting a web server", machines, serve)
    step("Asking for a page", machines, ask)
    step("Following the logs", machines, watch)
    show(machines)
    print "Stopping the servers, removing the files"
  end)
  print "Done; nothing is left."
end

main(...)
