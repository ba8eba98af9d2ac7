-- Servers that are kept: restarted when they die, with logs; they and their listening sockets survive this script. Kill it and start it again: it
-- finds all as it was, and nobody who connects meanwhile is refused.
--
--   afar examples/daemons.lua DIRECTORY [stop]

local afar = require "afar"

local dir, what = arg[1], arg[2]
if not dir then
  io.stderr:write "usage: afar examples/daemons.lua DIRECTORY [stop]\n"
  os.exit(2)
end
local PORT, REDIS_PORT = 8080 + (tonumber(os.getenv "OFFSET") or 0), 6379 + (tonumber(os.getenv "OFFSET") or 0)

local NGINX = [[
daemon off; USER worker_processes 1; error_log stderr; pid DIR/nginx.pid;
events {}
http { access_log off; client_body_temp_path DIR; proxy_temp_path DIR; fastcgi_temp_path DIR; uwsgi_temp_path DIR; scgi_temp_path DIR;
  server { listen 127.0.0.1:PORT; root DIR/www; } }]]

-- The process above all servers: the one of before, or a new one.
local socket = dir .. "/keeper"
local again, keeper = pcall(afar.reconnect, socket)
if not again then keeper = afar.here:fork():persistent(socket) end
print(again and "found" or "made", "process " .. keeper.pid)
if what == "stop" then
  for _, name in ipairs { "web", "redis", "job" } do
    local child = keeper.kept[name]
    if child then child:kill() end
    if child then child:wait() end -- nginx ends its worker first
  end
  return keeper:exit()
end

--- The listening socket of that name: its queue takes connections even while no server runs.
local function listener(name, port)
  if not keeper.kept[name] then
    local fd = keeper:socket("AF_INET", "SOCK_STREAM")
    fd:setsockopt("SO_REUSEADDR", true)
    fd:bind("127.0.0.1:" .. port)
    fd:listen(1024)
    keeper.kept[name] = fd
  end
  return keeper.kept[name]
end

local services = {}

local nginx = afar.try(keeper.which, keeper, "nginx")
if nginx then
  keeper:mkdir_p(dir .. "/www")
  keeper:write_file(dir .. "/www/index.html", "hello\n")
  keeper:write_file(dir .. "/nginx.conf", (NGINX:gsub("DIR", dir):gsub("PORT", PORT):gsub("USER", keeper:geteuid() == 0 and "user root;" or "")))
  local fd = listener("web socket", PORT)
  services.web = function(p)
    local mine = p:inherit(fd)
    return { nginx, "-c", dir .. "/nginx.conf", env = { NGINX = mine.number .. ";" }, keep = { mine } } -- it takes the socket over by number
  end
end

-- It takes no socket over: it survives this script, but who connects while it is itself started again is refused.
local redis = afar.try(keeper.which, keeper, "redis-server")
if redis then
  services.redis = function() return { redis, "--port", REDIS_PORT, "--bind", "127.0.0.1", "--dir", dir, "--appendonly", "yes" } end
end

services.job = function() return { "sh", "-c", "while echo tick; do sleep 0.1; done" } end

--- Starts a service, its output at the end of its log, and keeps it before anybody waits for it.
local function start(name)
  local p = keeper:fork()
  local log = p:open(("%s/%s.log"):format(dir, name), "O_WRONLY|O_CREAT|O_APPEND", "0600")
  local spec = services[name](p)
  spec.stdout, spec.stderr = log, "stdout"
  keeper.kept[name] = p:exec(spec)
end

local function supervise(name)
  if keeper.kept[name] then print("kept", name) end
  while true do
    if not keeper.kept[name] then
      start(name)
      print("started", name)
    end
    print("ended", name, keeper.kept[name]:wait())
    keeper.kept[name] = nil
    afar.sleep(0.1)
  end
end

-- What the script before had started and not kept yet ends: its service is started again.
for _, one in ipairs(keeper:unclaimed()) do
  if one.child then one.child:kill "SIGKILL" end
end

io.stdout:setvbuf "line"
afar.nursery(function(n)
  for name in pairs(services) do n:spawn(supervise, name) end
end)
