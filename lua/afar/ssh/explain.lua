--- Why there is no process behind ssh: one clear line from what ssh said. Pure.

---@alias afar.SshFailure
---| "host_key_changed" | "host_key"     its key isn't that of known_hosts; or isn't known
---| "unknown_host" | "refused" | "timeout" | "unreachable"
---| "too_many" | "denied"               too many keys were offered; none was accepted
---| "config" | "algorithms"             ssh doesn't understand its options; or the server
---| "no_shell"                          logged in, but no POSIX shell obeys there
---| "closed"                            the connection broke
---| "no_client"                         there is no ssh here
---| "unknown"

-- The first rule counts of which a pattern is in one of ssh's lines; that line is shown. So what is more exact stands
-- first: "closed" also follows upon much else.
local RULES = {
  {
    what = "host_key_changed",
    "^Offending .* key in ",
    "REMOTE HOST IDENTIFICATION HAS CHANGED",
    message = "its host key is not the one that is known for it",
    hint = "if the change is right, forget the old key with: ssh-keygen -R",
  },
  {
    what = "host_key",
    "host key is known for",
    "Host key verification failed",
    message = "its host key is not known",
    hint = "connect once by hand and compare the fingerprint: ssh %s",
  },
  { what = "unknown_host", "Could not resolve hostname", message = "the host is unknown" },
  {
    what = "too_many",
    "Too many authentication failures",
    message = "the server gave up after too many keys",
    hint = "say which key it shall be: identity = FILE, options = { IdentitiesOnly = true }",
  },
  {
    what = "denied",
    "Permission denied %(",
    "No more authentication methods",
    message = "the server accepted no key",
    hint = "see what is offered: ssh -v %s",
  },
  { what = "refused", "Connection refused", message = "the connection was refused", hint = "does sshd listen there?" },
  { what = "timeout", "[Tt]imed out", "Timeout, server", message = "there was no answer in time" },
  { what = "unreachable", "No route to host", "unreachable", message = "there is no way to it" },
  {
    what = "config",
    "Bad configuration option",
    "bad configuration options",
    "Bad owner or permissions",
    "Can't open user config file",
    "keyword .* extra arguments",
    "[Uu]nsupported option",
    "^unknown option",
    "^command%-line",
    "^Bad port",
    message = "ssh doesn't accept its options",
  },
  { what = "algorithms", "Unable to negotiate", message = "ssh and the server have no algorithm in common" },
  {
    what = "no_client",
    "^[^:]*sh: %d*:? ?ssh: .*not found",
    "^env: .*ssh.*: No such file",
    message = "there is no ssh client here",
    hint = "install openssh-client",
  },
  {
    what = "no_shell",
    "account is currently not available",
    "allows sftp connections only",
    "nologin",
    "/bin/sh: .*not found",
    "/bin/sh: No such file",
    "[Cc]ommand not found",
    "[Uu]nknown command",
    "request failed on channel",
    message = "the login works, but there is no shell that obeys",
  },
  {
    what = "closed",
    "closed by",
    "Connection reset",
    "Broken pipe",
    "^Connection to .* closed",
    "[Dd]isconnect",
    message = "the connection was closed",
  },
}

local function lines_of(text)
  local lines = {}
  for line in (text or ""):gmatch "[^\r\n]+" do
    local trimmed = line:match "^%s*(.-)%s*$"
    if trimmed ~= "" then lines[#lines + 1] = trimmed end
  end
  return lines
end

local function matching(rule, lines)
  for _, pattern in ipairs(rule) do
    for _, line in ipairs(lines) do
      if line:find(pattern) then return line end
    end
  end
end

--- The rule that fits, and the line which says so. What the far side printed counts only where nothing was said on stderr
--- that fits.
local function find(said, noise)
  for _, lines in ipairs { said, noise } do
    for _, rule in ipairs(RULES) do
      local line = matching(rule, lines)
      if line and (lines == said or rule.what == "no_shell") then return rule, line end
    end
  end
end

local function ending(status)
  if not status then return "ssh ended" end
  if status > 128 and status < 255 then return ("ssh was killed by signal %d"):format(status - 128) end
  return ("ssh ended with status %d"):format(status)
end

--- Only where ssh said nothing that is known.
local function by_status(status, said, noise)
  local last = said[#said] or noise[#noise]
  if status == 127 then
    if #said == 0 and #noise == 0 then return "no_client", "there is no ssh client here", "install openssh-client" end
    return "no_shell", "the login works, but there is no shell that obeys", nil, last
  end
  if status and status > 128 and status < 255 then return "closed", ending(status), nil, last end
  return "unknown", ending(status) .. ", and no process came of it", nil, last
end

--- Explains why ssh ended before there was a hello.
---@param status integer|nil   its exit status, 128 + n when signal n killed it; nil: not known
---@param stderr_text string   all that it wrote to stderr
---@param noise string|nil     what came on its stdout instead of a hello
---@param destination string
---@return afar.SshFailure what
---@return string message     one line: the destination, the reason, and what ssh said
---@return string|nil hint
local function explain(status, stderr_text, noise, destination)
  local said, heard = lines_of(stderr_text), lines_of(noise)
  local rule, line = find(said, heard)
  local what, message, hint
  if rule then
    what, message, hint = rule.what, rule.message, rule.hint and rule.hint:gsub("%%s", function() return destination end)
  else
    what, message, hint, line = by_status(status, said, heard)
  end
  message = ("ssh %s: %s%s"):format(destination, message, line and (" (%s)"):format(line) or "")
  return what, message, hint
end

return explain
