-- That the relay's counts can be relied on.

local function output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local counts

-- Runs a shell script between whose fds 3 (to the far side) and 4 (from it) stands the relay, with `far` behind it.
local function between(script, far, options)
  local text = output(([[
    T=$(mktemp -d); mkfifo $T/to $T/from
    build/relay %s -c $T/counts -- %s <$T/to >$T/from & relay=$!
    exec 3>$T/to 4<$T/from; %s
    exec 3>&-; cat <&4; wait $relay; echo "status $?"; cat $T/counts; rm -r $T]]):format(options or "", far, script))
  counts = {}
  for name, n, bytes in text:gmatch "(%a+) (%d+) bytes (%d+)\n" do
    counts[name] = { tonumber(n), tonumber(bytes) }
  end
  counts.turns = tonumber(text:match "turns (%d+)\n")
  return text:match "^(.*)\nto " or text
end

describe("the relay", function()
  local ASK = "echo x >&3; read answer <&4; echo $answer; "

  it("passes on both ways, and the status", function()
    assert.equal("x\nstatus 7", between(ASK, "sh -c 'cat; exit 7'"))
    assert.same({ to = { 1, 2 }, from = { 1, 2 }, turns = 1 }, counts)
  end)

  it("counts a round trip for each question that waits for an answer", function()
    between(ASK:rep(5), "cat")
    assert.same({ to = { 5, 10 }, from = { 5, 10 }, turns = 5 }, counts)
  end)

  it("counts one round trip for questions that are asked together, however late their answers are", function()
    between("echo x >&3; sleep 0.05; echo y >&3; sleep 0.3; read a <&4; read b <&4", "cat", "-d 700")
    assert.equal(1, counts.turns)
    assert.equal(4, counts.to[2])
  end)

  it("counts none when only the far side speaks", function()
    assert.equal("hello\nstatus 0", between("read hello <&4; echo $hello", "echo hello"))
    assert.same({ to = { 0, 0 }, from = { 1, 6 }, turns = 0 }, counts)
  end)

  it("delays each way, and not the bandwidth", function()
    local took = output [[
      start=$(date +%s%N); head -c 50000000 /dev/zero | build/relay -d 100 -- cat | wc -c; end=$(date +%s%N)
      echo $(((end - start) / 1000000))]]
    local bytes, milliseconds = took:match "(%d+)\n(%d+)"
    assert.equal("50000000", bytes)
    assert.is_true(tonumber(milliseconds) >= 200 and tonumber(milliseconds) < 30000, took) -- 76 s, if each piece were delayed behind the other
  end)

  it("says when there is nothing to connect to", function()
    assert.equal("relay: 127.0.0.1: Connection refused\n1\n", output "build/relay -t 127.0.0.1:1 2>&1 </dev/null; echo $?")
  end)
end)
