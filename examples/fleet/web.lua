--- A web server on a machine, and pages from it: nginx with a folder and a port of its own.

local afar = require "afar"

local web = {}

local CONFIGURATION = [[
daemon off;
master_process off;  # one process: it ends with its parent, whatever happens
pid nginx.pid;
events {}
http {
  log_format fleet '"$request" $status, $body_bytes_sent bytes';
  access_log access.log fleet;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {
    listen 127.0.0.1:%d;
    root site;
  }
}
]]

--- A port that nobody else gets while the socket is open; with SO_REUSEADDR on both, the server may listen there all the same.
local function reserve_port(p)
  local socket = p:socket "AF_INET"
  socket:setsockopt("SO_REUSEADDR", 1)
  socket:bind "127.0.0.1:0"
  return socket:getsockname().port, socket
end

--- Writes the site and its configuration into `dir`, a folder of that side.
---@return table site
function web.configure(p, dir, page)
  local port, socket = reserve_port(p)
  p:mkdir(dir .. "/site")
  p:write_file(dir .. "/site/index.html", page)
  p:write_file(dir .. "/nginx.conf", CONFIGURATION:format(port))
  return { p = p, dir = dir, port = port, socket = socket, log = dir .. "/access.log" }
end

--- Starts the server as a child of the site's process.
---@return afar.Child
function web.start(site)
  local path = (site.p.environ.PATH or "") .. ":/usr/sbin" -- where Debian has it, which is in no user's PATH
  return site.p:fork():exec {
    "nginx", "-p", site.dir, "-c", "nginx.conf", "-e", "error.log", env = { PATH = path }, stdin = "null",
  }
end

local function connect(site)
  local socket = site.p:socket "AF_INET"
  local ok, err = pcall(socket.connect, socket, "127.0.0.1:" .. site.port)
  if ok then return socket end
  socket:close()
  if not afar.is_error(err, "ECONNREFUSED") then error(err, 0) end
end

--- A connection to the server; waits until it is up.
local function connect_soon(site)
  while true do
    local socket = connect(site)
    if socket then return socket end
    afar.sleep(0.02)
  end
end

--- Asks for a page, from the server's own machine.
---@return integer status, string body
function web.get(site, path)
  local socket = afar.timeout(5, connect_soon, site)
  socket:write(("GET %s HTTP/1.0\r\nHost: %s\r\n\r\n"):format(path, site.p.machine.name))
  local answer = socket:reader():all()
  socket:close()
  local status, body = answer:match "^HTTP/%S+ (%d+).-\r\n\r\n(.*)$"
  return tonumber(status), body
end

return web
