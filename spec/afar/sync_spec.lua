-- Events, queues, and several results together.

local afar = require "afar"

local raised = require "spec.support.raised"
local fails = raised.saying

describe("an event", function()
  it("lets all go on that wait for it, and those that come later", function()
    local event, seen = afar.event(), {}
    afar.nursery(function(n)
      for i = 1, 3 do n:spawn(function() seen[i] = { event:wait() } end) end
      afar.sleep(0.01)
      assert.same({}, seen)
      assert.is_false(event:is_set())
      assert.is_true(event:set("value", nil, 3))
      assert.is_false(event:set "again")
      assert.is_false(event:fail "again")
    end)
    for i = 1, 3 do assert.same({ "value", nil, 3 }, seen[i]) end
    assert.equal("value", (event:wait()))
    assert.is_true(event:is_set())
  end)

  it("may fail instead", function()
    local event = afar.event()
    local failure = { "an object" }
    afar.nursery(function(n)
      n:spawn(function() assert.equal(failure, raised.err(event.wait, event)) end)
      afar.sleep(0.01)
      event:fail(failure)
    end)
    assert.equal(failure, raised.err(event.wait, event))
  end)

  it("is waited for no longer by who is cancelled", function()
    local event = afar.event()
    assert.is_true(raised.err(afar.timeout, 0.01, event.wait, event).timeout)
    event:set()
    event:wait()
  end)
end)

describe("a queue", function()
  it("gives values in order, to whoever waits", function()
    local queue, got = afar.queue(), {}
    afar.nursery(function(n)
      for _ = 1, 2 do
        n:spawn(function()
          for value in queue do got[#got + 1] = value end
        end)
      end
      for i = 1, 10 do
        queue:put(i)
        if i % 3 == 0 then afar.sleep(0.001) end
      end
      queue:close()
    end)
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, got)
    assert.is_nil(queue:get())
  end)

  it("gives one, all that is there, or nothing without waiting", function()
    local queue = afar.queue()
    assert.is_nil(queue:try_get())
    for _, value in ipairs { "a", false, "c" } do queue:put(value) end
    assert.equal("a", queue:get())
    assert.same({ false, "c" }, queue:get_all())
    afar.nursery(function(n)
      n:spawn(function() assert.same({ "late" }, queue:get_all()) end)
      afar.sleep(0.01)
      queue:put "late"
    end)
  end)

  it("brings each question its own answer, whatever the order", function()
    local queue, got = afar.queue(), {}
    afar.nursery(function(n)
      for i = 1, 3 do n:spawn(function() got[i] = queue:ask(i) end) end
      n:spawn(function()
        local questions = queue:get_all()
        for i = #questions, 1, -1 do questions[i]:answer(questions[i].value * 10) end
      end)
    end)
    assert.same({ 10, 20, 30 }, got)
  end)

  it("serves who serves another one", function()
    local a, b = afar.queue(), afar.queue()
    afar.nursery(function(n)
      n:spawn(function()
        for question in a do question:answer(b:ask(question.value + 10)) end
      end)
      n:spawn(function()
        for question in b do question:answer(question.value + 100) end
      end)
      assert.equal(111, a:ask(1))
      a:close()
      b:close()
    end)
  end)

  it("brings an error to who asked, with a short traceback", function()
    local a, b = afar.queue(), afar.queue()
    afar.nursery(function(n)
      n:spawn(function()
        for question in a do
          local ok, err = pcall(b.ask, b, question.value)
          if ok then question:answer(err) else question:fail(err) end
        end
      end)
      n:spawn(function()
        for question in b do question:fail "what went wrong" end
      end)
      local trace
      xpcall(function() a:ask(1) end, function(err)
        assert.equal("what went wrong", err)
        trace = debug.traceback()
      end)
      local frames = select(2, trace:gsub("\n\t[^%s%[]", "")) + select(2, trace:gsub("\n\t%[", ""))
      assert.is_true(frames > 0 and frames < 25, trace) -- of which the spec's own runner has most
      assert.is_nil(trace:find("b:ask", 1, true))
      a:close()
      b:close()
    end)
  end)

  it("fails the questions that nobody has got when it is closed, and takes no more", function()
    local queue = afar.queue()
    afar.nursery(function(n)
      n:spawn(function() assert.equal("enough", raised.err(queue.ask, queue, 1)) end)
      afar.sleep(0.01)
      queue:put "kept"
      queue:close "enough"
      queue:close()
    end)
    assert.equal("kept", queue:get())
    assert.is_nil(queue:get())
    fails("put: the queue was closed", queue.put, queue, 1)
    fails("ask: the queue was closed", queue.ask, queue, 1)
    fails("nil can't be put", afar.queue().put, afar.queue())
  end)

  it("loses nothing when who waits for it is cancelled", function()
    local queue = afar.queue()
    assert.is_true(raised.err(afar.timeout, 0.01, queue.get, queue).timeout)
    queue:put "value"
    assert.equal("value", queue:get())
  end)
end)

describe("afar.all", function()
  it("gives the results in order, however long each takes", function()
    local results = afar.all {
      function()
        afar.sleep(0.02)
        return "slow"
      end,
      function() return nil end,
      function() return "fast", "ignored" end,
    }
    assert.same({ "slow", nil, "fast", n = 3 }, results)
    assert.same({ n = 0 }, afar.all {})
  end)

  it("raises the first error, and cancels the others", function()
    local cancelled
    local err = raised.err(afar.all, {
      function()
        local ok, why = pcall(afar.sleep, 100)
        cancelled = not ok and afar.is_cancelled(why)
        error(why, 0)
      end,
      function() error("mine", 0) end,
    })
    assert.equal("mine", err)
    assert.is_true(cancelled)
    fails("a list of functions was expected, not string", afar.all, "f")
  end)
end)
