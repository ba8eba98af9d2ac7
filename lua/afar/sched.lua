--- The scheduler: coroutines that wait for completions of the loop, sleep, and are cancelled.
-- C queues completions (see bindings/loop.h); here they resume whoever waits. A coroutine under the scheduler is a
-- *routine*; coroutines that a script makes by itself inside one work too: their waits pass up to the routine.

local loop = require "afar.loop"

local sched = {}

local yield, resume, isyieldable = coroutine.yield, coroutine.resume, coroutine.isyieldable
local WAIT = {} -- what a waiting routine yields, so that a script's own yields are told from it

-- Ids only grow: as the keys of one table, of which each is used once, they would have it rehashed again and again. So who waits has a
-- place by his id; only where that is somebody's already is he in `others`.
local places, place_count = {}, 1024 -- routine, or { call = f }, whose wait_id it is; false: nobody's
local others = {} -- completion id -> the same, or a function for each completion; false: whoever waited doesn't any more
local collisions = 0
local early = {} -- completion id -> { result, fate }: it came before anybody waited
local ready, ready_head, ready_tail = {}, 1, 0 -- routines to be resumed
local timers, timer_count = {}, 0 -- binary heap by time; cancelled entries stay until they come up
local current -- the routine that runs now

---@class afar.Routine
---@field co thread
---@field done boolean
---@field ok boolean    whether it returned (once done)
---@field values table  what it returned, or { error }
---@field pending any   the error by which it is to be cancelled at its next wait

-- ---- timers ----

local function timer_up(i)
  local t = timers[i]
  while i > 1 do
    local parent = (i - i % 2) / 2
    if timers[parent].at <= t.at then break end
    timers[i] = timers[parent]
    i = parent
  end
  timers[i] = t
end

local function timer_down(i)
  local t = timers[i]
  while true do
    local child = 2 * i
    if child > timer_count then break end
    if child < timer_count and timers[child + 1].at < timers[child].at then child = child + 1 end
    if timers[child].at >= t.at then break end
    timers[i] = timers[child]
    i = child
  end
  timers[i] = t
end

--- Calls `f` after `seconds`, from the loop: it must not wait. Returns an object whose `f` may be set to nil to forget it.
---@param seconds number
---@param f fun()
function sched.after(seconds, f)
  local t = { at = loop.monotonic() + seconds, f = f }
  timer_count = timer_count + 1
  timers[timer_count] = t
  timer_up(timer_count)
  return t
end

local function timer_pop()
  local t = timers[1]
  timers[1] = timers[timer_count]
  timers[timer_count] = nil
  timer_count = timer_count - 1
  if timer_count > 1 then timer_down(1) end
  return t
end

--- Seconds to the next timer, or nil.
local function run_timers()
  while timer_count > 0 do
    local t = timers[1]
    if t.f then
      local left = t.at - loop.monotonic()
      if left > 0 then return left end
      timer_pop()
      t.f()
    else
      timer_pop()
    end
  end
end

-- ---- who waits ----

local MOST_PLACES = 2 ^ 16

for i = 1, place_count do places[i] = false end

--- Room for twice as many.
local function add_places()
  local old, count = places, place_count
  collisions, place_count, places = 0, 2 * count, {}
  for i = 1, place_count do places[i] = false end
  for i = 1, count do
    local routine = old[i]
    if routine then places[routine.wait_id % place_count + 1] = routine end
  end
end

--- Several may wait for the same: who came later has the others behind him.
local function put_waiter(id, routine)
  routine.wait_id = id
  local at, other = id % place_count + 1, others[id]
  local there = places[at]
  if not other and (not there or there.wait_id == id) then
    routine.behind = there or nil
    places[at] = routine
    return
  end
  routine.behind, others[id] = other or nil, routine
  collisions = collisions + 1
  if collisions > place_count and place_count < MOST_PLACES then add_places() end
end

--- A list of waiters without one of them.
local function without(first, routine)
  if first == routine then return routine.behind end
  local at = first
  while at and at.behind ~= routine do at = at.behind end
  if at then at.behind = routine.behind end
  return first
end

--- `comes`: the completion comes all the same, for nobody.
local function drop_waiter(id, routine, comes)
  local at = id % place_count + 1
  local there = places[at]
  local is_placed = there and there.wait_id == id
  local left = without(is_placed and there or others[id], routine)
  routine.behind = nil
  if is_placed then places[at] = left or false end
  if is_placed and left then return end
  if left or not comes then
    others[id] = left
  else
    others[id] = false
  end
end

-- ---- routines ----

local function make_ready(routine)
  if routine.ready then return end
  routine.ready = true
  ready_tail = ready_tail + 1
  ready[ready_tail] = routine
end

local function finish(routine, ok, ...)
  routine.done, routine.ok, routine.values, routine.count = true, ok, { ... }, select("#", ...)
  if routine.on_done then routine.on_done(routine) end
end

--- The error with its traceback: kept in the error object, or beside it when it is a plain value.
local function trace(err)
  if type(err) == "table" and rawget(err, "traceback") == nil and getmetatable(err) then
    rawset(err, "traceback", debug.traceback("", 2):gsub("^\n", ""))
  elseif current and type(err) ~= "table" then
    current.traceback = debug.traceback("", 2):gsub("^\n", "")
  end
  return err
end

--- A routine has all fields that it will ever have: a table in which other ones are nil each time is made anew again and again.
local function blank()
  local routine = {
    co = false, done = false, ok = false, values = false, count = 0, pending = 0, later = 0, ready = false, wait_id = 0, on_cancel = 0, result = 0,
    fate = 0, abandoned = 0, behind = 0, on_done = 0, traceback = 0,
  }
  routine.pending, routine.later, routine.wait_id, routine.on_cancel, routine.result, routine.fate = nil, nil, nil, nil, nil, nil
  routine.abandoned, routine.behind, routine.on_done, routine.traceback = nil, nil, nil, nil
  return routine
end

--- Starts `f(...)` as a routine of its own; it runs from the next turn of the loop on.
--- Nobody waits for it: scripts use nurseries.
---@return afar.Routine
function sched.start(f, ...)
  local args, count = { ... }, select("#", ...)
  local routine = blank()
  routine.co = coroutine.create(function()
    finish(routine, xpcall(f, trace, unpack(args, 1, count)))
    return WAIT
  end)
  make_ready(routine)
  return routine
end

local function step(routine)
  routine.ready = nil
  current = routine
  local ok, what = resume(routine.co)
  current = nil
  if not ok then -- only what even xpcall can't catch: out of memory, an error in the error handler
    finish(routine, false, what)
  elseif what ~= WAIT and not routine.done then
    routine.pending = routine.pending or "coroutine.yield outside of a coroutine of the script's own"
    make_ready(routine)
  end
end

--- The routine that runs now.
---@return afar.Routine
function sched.current() return current end

--- An error where a wait is impossible.
local function check_yieldable()
  if isyieldable() then return end
  error(
    "can't wait here: inside a sort comparator, a gsub callback, __gc, or another function called from C; "
      .. "make the call before it",
    0
  )
end

-- ---- what the garbage collector leaves to do ----

local collected, collected_count = {}, 0

--- Calls `f` soon, from where calls are made or from the loop: for finalizers, which run amid anything, and so do nothing but this.
---@param f fun()  must not wait
function sched.collected(f)
  collected_count = collected_count + 1
  collected[collected_count] = f
end

local function run_collected()
  while collected_count > 0 do
    local empty = {} -- first: what takes memory may collect, and add to the list that is taken
    local list, count = collected, collected_count
    collected, collected_count = empty, 0
    for i = 1, count do list[i]() end
  end
end

--- Before a call of which the bindings see that one can wait: the rest of check().
function sched.check_pending()
  if collected_count > 0 then run_collected() end
  if current and current.pending ~= nil then sched.raise_pending() end
end

--- Before a call: raises the error by which the running routine was cancelled, if so; each cancellation is raised once. And raises where one
--- can't wait, though the answer might be there in time.
function sched.check()
  if collected_count > 0 then run_collected() end
  check_yieldable()
  sched.raise_pending()
end

--- What a routine is cancelled with is taken back, if it was not raised yet.
function sched.forget(routine, err)
  local later = routine.later
  if routine.pending == err then
    routine.pending = later and table.remove(later, 1)
    return
  end
  for i = 1, later and #later or 0 do
    if later[i] == err then return table.remove(later, i) end
  end
end

--- Raises what the running routine was cancelled with, if that was not raised yet. Also where it can't wait.
function sched.raise_pending()
  local routine = current
  if routine and routine.pending ~= nil then
    local err = routine.pending
    sched.forget(routine, err)
    error(err, 0)
  end
end

--- Whether the running routine was cancelled and that was not raised yet.
function sched.is_cancelled() return current ~= nil and current.pending ~= nil end

--- Waits for a completion.
---@param id integer          from a function of the bindings; nil: don't wait
---@param on_cancel? fun():boolean|"never"  called when the routine is cancelled meanwhile. True: leave at once, and raise ("never": and the
---  completion won't come any more); else go on waiting for the completion (which it has brought about). Without it the wait can't be cut
---  short: the cancellation is raised at the next one that can.
---@return number? result, string? fate   fate is nil when it was answered; see loop.h
function sched.wait(id, on_cancel)
  if id == nil then return end
  local routine = current
  if not routine then error("can't wait here: not inside a coroutine of the script", 2) end
  local done = early[id]
  if done then
    early[id] = nil
    return done[1], done[2]
  end
  check_yieldable()
  if on_cancel and routine.pending ~= nil then
    local left = on_cancel()
    if left then
      if left ~= "never" and others[id] == nil then others[id] = false end
      sched.check()
    end
    on_cancel = nil
  end
  put_waiter(id, routine)
  routine.on_cancel, routine.result, routine.fate = on_cancel, nil, nil
  yield(WAIT)
  local abandoned = routine.abandoned
  routine.wait_id, routine.on_cancel, routine.abandoned = nil, nil, nil
  if abandoned then sched.check() end
  return routine.result, routine.fate
end

--- Cancels a routine: its wait ends with `err` raised, or the next wait that can.
function sched.cancel(routine, err)
  if routine.done then return end
  if routine.pending ~= nil then -- by somebody within, it may be: who has caught that one must still get this one
    routine.later = routine.later or {}
    table.insert(routine.later, err)
    return
  end
  routine.pending = err
  local id, on_cancel = routine.wait_id, routine.on_cancel
  if not (id and on_cancel) then return end
  routine.on_cancel = nil
  local left = on_cancel()
  if left then
    drop_waiter(id, routine, left ~= "never")
    routine.abandoned = true
    make_ready(routine)
  end
end

local function always() return true end

--- Sleeps so many seconds (fractions too).
---@param seconds number
function sched.sleep(seconds)
  if type(seconds) ~= "number" then error(("sleep: a number of seconds was expected, not %s"):format(type(seconds)), 2) end
  local id, over = loop.id(), false
  local timer = sched.after(seconds, function()
    over = true
    loop.complete(id)
  end)
  sched.wait(id, function()
    timer.f = nil
    return over or "never"
  end)
end

--- Lets all others run that can.
function sched.turn()
  sched.check()
  make_ready(current)
  yield(WAIT)
end

--- An event on an fd of the host itself: "r" or "w".
function sched.wait_fd(fd, mode)
  sched.check()
  local id, watch = loop.watch(fd, mode)
  local function forget()
    local fired = loop.unwatch(watch)
    watch = nil
    return fired or "never"
  end
  sched.wait(id, forget)
  if watch then forget() end
end

--- Waits until `routine` is done.
function sched.join(routine, on_cancel)
  if routine.done then return end
  local id = loop.id()
  local before = routine.on_done
  routine.on_done = function(r)
    if before then before(r) end
    loop.complete(id)
  end
  sched.wait(id, on_cancel or always)
end

-- ---- the loop ----

local function run_ready()
  local last = ready_tail
  while ready_head <= last do
    local routine = ready[ready_head]
    ready[ready_head] = nil
    ready_head = ready_head + 1
    step(routine)
  end
  if ready_head > ready_tail then
    ready_head, ready_tail = 1, 0
  end
end

--- All of a list: none of them can be cancelled out of this wait any more, by one that runs before it.
local function wake(waiter, result, fate)
  local at = waiter
  while at do
    at.result, at.fate, at.wait_id, at.on_cancel = result, fate, nil, nil
    at = at.behind
  end
  while waiter do
    local behind = waiter.behind
    waiter.behind = nil
    if waiter.call then
      waiter.call(result, fate, waiter)
    else
      step(waiter)
    end
    waiter = behind
  end
end

local function complete_other(id, result, fate)
  local waiter = others[id]
  if type(waiter) == "function" then return waiter(result, fate) end
  others[id] = nil
  if waiter then
    wake(waiter, result, fate)
  elseif waiter == nil then
    early[id] = { result, fate }
  end
end

local function run_completions()
  while true do
    local id, result, fate = loop.next()
    if not id then return end
    local at = id % place_count + 1
    local waiter = places[at]
    if waiter and waiter.wait_id == id then
      places[at] = false
      wake(waiter, result, fate)
    else
      complete_other(id, result, fate)
    end
  end
end

--- Calls `f(result, fate)` from the loop at each completion of `id`; it must not wait. nil: nobody cares for it.
function sched.on(id, f) others[id] = f or false end

--- Calls `f(result, fate)` at the next completion of `id` only. `waiter`: a table of the caller's, which f is given as well; f is its .call till
--- the next is.
function sched.once(id, f, waiter)
  waiter = waiter or { call = f }
  waiter.call = f
  put_waiter(id, waiter)
end

--- Whether nobody else could run now: only then may one look for an answer without letting go.
function sched.is_idle() return ready_head > ready_tail end

--- Runs the loop until `routine` is done.
---@param routine afar.Routine
function sched.run(routine)
  while not routine.done do
    run_ready()
    if routine.done then break end
    if collected_count > 0 then run_collected() end
    local seconds = run_timers()
    loop.wait(ready_head <= ready_tail and 0 or seconds or -1)
    run_completions()
  end
end

--- Runs `f(...)` as the main routine, until it is done.
---@return boolean ok
---@return any ...  what it returned, or the error and its traceback
function sched.main(f, ...)
  local routine = sched.start(f, ...)
  sched.main_routine = routine
  sched.run(routine)
  if routine.ok then return true, unpack(routine.values, 1, routine.count) end
  local err = routine.values[1]
  return false, err, type(err) == "table" and rawget(err, "traceback") or routine.traceback
end

-- ---- coroutines of the script's own ----

--- A wait inside such a coroutine goes up to the routine, and its answer comes down again.
local function pass(co, ok, what, ...)
  if ok and what == WAIT then
    yield(WAIT)
    return pass(co, resume(co))
  end
  return ok, what, ...
end

local function unwrap(ok, ...)
  if ok then return ... end
  error((...), 0)
end

--- Replaces coroutine.resume and coroutine.wrap by ones that scripts may use freely.
function sched.install()
  function coroutine.resume(co, ...) return pass(co, resume(co, ...)) end

  function coroutine.wrap(f)
    local co = coroutine.create(f)
    return function(...) return unwrap(pass(co, resume(co, ...))) end
  end
end

return sched
