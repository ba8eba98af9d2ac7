--- What a shell at the far end is told, so that it becomes a root. Pure: strings in, strings out.
--
-- The far side speaks in lines that begin with the marker; all before a marker is noise. The host answers:
--
--   far side says              then the host
--   -------------------------  ---------------------------------------------------------------------------------
--   MARKER AFAR...             has a root: what follows the marker is the hello, binary (see doc/protocol.md)
--   MARKER-send MACHINE        writes `stub_lines(stub of MACHINE)` to the far side's stdin; may be asked again, once a
--                              directory, where a shell can't tell beforehand that a directory is noexec
--   MARKER-send MACHINE base64 writes `base64_lines(stub of MACHINE, compressed by gzip)`: a third of the bytes
--   MARKER-error WHAT DETAILS  raises; nothing more comes. WHAT is `machine` (DETAILS: what uname -m says) or
--                              `noexec` (DETAILS: the directories that were tried)
--
-- Before it is asked the host sends nothing: shells read more of their stdin than the line that they run.

local script = {}

--- Linux gives up on longer arguments (MAX_ARG_STRLEN, with its NUL).
script.MAX_COMMAND = 128 * 1024 - 1

--- The machines that have a stub, and what `uname -m` calls them.
script.machines = {
  { name = "x86_64", pattern = "x86_64|amd64" },
  { name = "aarch64", pattern = "aarch64|arm64" },
}

-- No newline, single quote, backslash or exclamation mark may occur in here: fish and tcsh treat them alike nowhere else.
--
-- In each directory two ways are tried. `p`: the file is unlinked while it is still empty, and is filled and executed by
-- its fd, so that a shell that is killed leaves nothing (9 is then the stub's to close: its fourth argument). `n`, where
-- there is no /proc: by its name, which the traps and the stub remove.
local PARTS = {
  'm=@MARKER_HEAD@""@MARKER_TAIL@;u=$(umask);h=$(uname -m);f=;s=;D=;',
  "r(){ [ -z \"$f\" ]||rm -f \"$f\";f=;};trap r 0;trap \"exit 1\" 1 2 13 15;",
  -- 7 takes what nobody shall see. A place without /dev/null must not get a file of that name.
  "if [ -c /dev/null ]&&true 2>&- >/dev/null;then exec 7>/dev/null;else exec 7>&2;fi;",
  "k(){ command -v $1 >&7 2>&7;};",
  "case $h in @MACHINES@*)echo \"$m-error machine $h\";exit 1;;esac;",
  "[ -t 0 ]&&stty raw -echo;",
  'if k base64;then D="base64 -d";elif k openssl;then D="openssl base64 -d -A";',
  'elif k busybox&&echo|busybox base64 >&7 2>&7;then D="busybox base64 -d";',
  'elif k perl;then D="perl -MMIME::Base64 -e print(decode_base64(<STDIN>))";fi;@UNPACK@',
  -- The stub's bytes, to stdout. Where the stream ends amid them there is nobody left to work for.
  'g(){ while IFS= read -r l;do case $l in .)return 0;;esac;$1 "$l";done;kill $$;exit 1;};',
  'w(){ if [ "$D" ];then { if [ "$s" ];then echo $s;else g echo;fi;}|$D|$Z;else g printf;fi;};',
  'a(){ f=$d/.afar-$m;{ x=$f;[ $1 = n ]||{ exec 9<"$f";rm -f "$f";x=/proc/self/fd/9;};',
  'chmod 700 "$x"&&[ -x "$x" ]&&{ [ "${D:+$s}" ]||echo "$m-send $h${D:+ base64}";}&&w >&8;} 8>"$f"',
  '&&{ "$x" <&- >&7;[ $? = 64 ];}||{ r;return 1;};};',
  -- Where a decoder is there but does not work, nothing could be executed: once more, by asking.
  'set -C;umask 077;while :;do t=;for d in "$XDG_RUNTIME_DIR" /dev/shm "$TMPDIR" /tmp /var/tmp "$HOME" .;do ',
  '[ -d "$d" ]&&[ -w "$d" ]||continue;t="$t $d";for k in p n;do a $k&&break 2;x=;done;done;',
  '[ -z "$x" ]&&[ "$D" ]||break;D=;done 2>&7;exec 7>&-;',
  '[ "$x" ]||{ echo "$m-error noexec$t";exit 1;};umask $u;',
  'case $x in "$f")AFAR_UNLINK=$f;export AFAR_UNLINK;exec "$x" $m 0 1;;*)exec "$x" $m 0 1 9;;esac',
}

-- What stubs go through behind their decoding; without it the far side asks for them, as they are.
local UNPACK = {
  gzip = 'if k gzip;then Z="gzip -dc";elif k busybox&&echo|busybox gzip >&7 2>&7;then Z="busybox gzip -dc";else D=;fi;',
  plain = "Z=cat;",
}

local function is_packed(stubs)
  local _, any = next(stubs)
  return any ~= nil and any:sub(1, 2) == "\31\139"
end

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

--- Base64 of a string, in one line.
function script.base64(bytes)
  local out = {}
  for i = 1, #bytes, 3 do
    local a, b, c = bytes:byte(i, i + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    for shift = 1, 4 do
      local digit = math.floor(n / 64 ^ (4 - shift)) % 64 + 1
      out[#out + 1] = ALPHABET:sub(digit, digit)
    end
    if not c then
      out[#out] = "="
    end
    if not b then
      out[#out - 1] = "="
    end
  end
  return table.concat(out)
end

-- There are two stubs in a program's life, and many bootstraps.
local encoded = setmetatable({}, { __mode = "v" })

local function encode(stub)
  local text = encoded[stub]
  if not text then
    text = script.base64(stub)
    encoded[stub] = text
  end
  return text
end

-- The arms of a `case` over `uname -m`: each names its machine as we do, and holds its stub where there is one.
local function machine_arms(stubs)
  local arms = {}
  for i, machine in ipairs(script.machines) do
    local stub = stubs[machine.name]
    arms[i] = ("%s)h=%s%s;;"):format(machine.pattern, machine.name, stub and ";s=" .. encode(stub) or "")
  end
  return table.concat(arms)
end

--- The command that turns a shell at the far end into a root; every login shell understands it.
-- Without stubs (or without that of its machine) the far side asks for its stub.
---@param opts { marker: string, stubs?: table<string, string> } marker: 32 hexadecimal digits; stubs by machine, all as they are or
---  all compressed by gzip
---@return string command to be the last argument of ssh, or of any shell's -c
function script.command(opts)
  local marker = opts.marker
  assert(marker:match("^%x+$") and #marker == 32, "marker: 32 hexadecimal digits")
  local values = {
    -- In two halves: where what we send is echoed, the echo is not taken for the marker.
    MARKER_HEAD = marker:sub(1, 16),
    MARKER_TAIL = marker:sub(17),
    MACHINES = machine_arms(opts.stubs or {}),
    UNPACK = (is_packed(opts.stubs or {}) or not next(opts.stubs or {})) and UNPACK.gzip or UNPACK.plain,
  }
  local text = table.concat(PARTS):gsub("@([A-Z_]+)@", values)
  local command = "exec /bin/sh -c '" .. text .. "'"
  assert(#command <= script.MAX_COMMAND, "the stubs are too large for one argument")
  return command
end

--- What to send first to a shell that reads its commands from the stream itself. (Not fish, which runs nothing before
-- the end of its stdin.) Without stubs it fits into one line of a terminal.
---@param opts { marker: string, stubs?: table<string, string> }
function script.interactive(opts)
  return script.command(opts) .. "\n"
end

-- Bytes that stand for themselves in printf's format: no digit, so that an octal escape ends by itself; no `.`, which is
-- the end; no `-`, which some printf takes for an option.
local function printf_escape(char)
  return ("\\%o"):format(char:byte())
end

local LINE_BYTES = 512

--- A stub as lines that a shell decodes with `read` and `printf` alone.
---@param bytes string
function script.stub_lines(bytes)
  local lines = {}
  for i = 1, #bytes, LINE_BYTES do
    lines[#lines + 1] = bytes:sub(i, i + LINE_BYTES - 1):gsub("[^%a_/,:=@^~]", printf_escape)
  end
  lines[#lines + 1] = ".\n"
  return table.concat(lines, "\n")
end

--- Bytes as lines of base64.
---@param bytes string
function script.base64_lines(bytes)
  return encode(bytes):gsub(("."):rep(LINE_BYTES), "%0\n") .. "\n.\n"
end

--- Looks for the next message in what has come from the far side.
---@param buffer string all that was not consumed yet
---@param marker string
---@return "hello"|"send"|"error"|nil kind nil: more bytes are needed
---@return string noise what stood before the marker
---@return integer next where the rest of the buffer begins (with kind nil: what is before may be dropped as noise)
---@return string? what the machine, or the WHAT of an error
---@return string? details
function script.scan(buffer, marker)
  local first, last = buffer:find(marker, 1, true)
  if not first then
    local rest = math.max(1, #buffer - #marker + 2)
    return nil, buffer:sub(1, rest - 1), rest
  end
  local noise, byte = buffer:sub(1, first - 1), buffer:sub(last + 1, last + 1)
  if byte == "" then
    return nil, noise, first
  elseif byte ~= "-" then
    return "hello", noise, last + 1
  end
  local line, rest = buffer:match("^-([^\n]*)\n()", last + 1)
  if not line then
    return nil, noise, first
  end
  local kind, what, details = line:gsub("\r$", ""):match("^(%a+) (%S*) ?(.*)$")
  if kind == "send" or kind == "error" then
    return kind, noise, rest, what, details
  end
  return "error", noise, rest, "message", line
end

return script
