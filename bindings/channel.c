#include "channel.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "bindings.h"
#include "bulk.h"
#include "pump.h"
#include "stream.h"

#define TYPE "afar.channel"

enum { FDS_AHEAD = 256 }; /* fds of which the message is still to come */

/* ---- the core, without Lua ---- */

struct channel *channel_new(struct stream *stream, uint32_t number, uint32_t to_host, uint32_t from_host) {
  struct channel *channel = calloc(1, sizeof *channel);
  if (!channel)
    abort();
  channel->stream = stream;
  channel->loop = stream->loop;
  channel->number = number;
  channel->window = channel->window_most = to_host;
  channel->granted = to_host;
  channel->credit = from_host;
  channel->refs = 1;
  return channel;
}

void channel_unref(struct channel *channel) {
  if (--channel->refs > 0)
    return;
  bytes_free(&channel->in);
  bytes_free(&channel->fds);
  free(channel);
}

static void complete(struct channel *channel, uint64_t *id) {
  loop_complete(channel->loop, *id, 0, FATE_DONE);
  *id = 0;
}

/* Half a window is credited each time half a window was taken. Where that happens about once in a round trip, or
 * oftener, the window is what keeps the other side from sending more: it grows until it no longer is. */
static uint32_t growth(struct channel *channel) {
  double now = ev_now(channel->loop->ev), before = channel->credit_at;
  channel->credit_at = now;
  uint32_t left = channel->window_most - channel->window;
  if (left == 0 || before == 0 || now - before > 1.5 * channel->stream->round_trip)
    return 0;
  uint32_t more = channel->window < left ? channel->window : left;
  channel->window += more;
  return more;
}

void channel_took(struct channel *channel, size_t length) {
  channel->taken += (uint32_t)length;
  if (channel->taken < channel->window / 2 || channel->ended || channel->closing || !channel->stream)
    return;
  uint32_t credit = channel->taken + growth(channel);
  channel->granted += credit;
  stream_frame(channel->stream, channel->number, AFAR_CREDIT, credit);
  channel->taken = 0;
}

/* What has come makes no sense to whom it is for. That is between these two: the stream goes on. */
static void give_up(struct channel *channel, int error) {
  channel_on_end(channel, FATE_LOST, -error);
  channel_close(channel);
}

int channel_on_data(struct channel *channel, const char *data, size_t length) {
  if (length > channel->granted)
    return -EPROTO;
  channel->granted -= length;
  if (channel->ended || channel->closing)
    return 0;
  if (channel->sink) {
    int error = channel->sink->data(channel->sink, data, length);
    channel_took(channel, length);
    if (error)
      give_up(channel, error);
    return 0;
  }
  if (channel->pump && bytes_length(&channel->in) == 0) {
    size_t moved = pump_data(channel->pump, data, length);
    data += moved;
    length -= moved;
    if (length == 0 && channel->pump->slot)
      return 0; /* it is run once all that has come is there */
  }
  bytes_append(&channel->in, data, length);
  complete(channel, &channel->read_id);
  if (channel->pump)
    pump_run(channel->pump);
  return 0;
}

void channel_on_end(struct channel *channel, enum fate fate, int error) {
  if (channel->ended)
    return;
  channel->ended = 1;
  channel->fate = fate;
  channel->error = error;
  complete(channel, &channel->read_id);
  complete(channel, &channel->write_id);
  if (channel->sink)
    channel->sink->end(channel->sink, fate, error);
  if (channel->pump)
    pump_run(channel->pump);
}

void channel_on_gone(struct channel *channel, enum fate fate, int error) {
  channel_on_end(channel, fate, error);
  channel->stream = NULL;
  complete(channel, &channel->write_id); /* what was read may have ended long before */
  if (channel->pump)
    pump_run(channel->pump);
}

/* Whether nothing more can be written. The end of what is read, by itself, says nothing of that: a socket may be half
 * closed. */
int channel_write_over(const struct channel *channel) {
  int failed = channel->ended && (channel->error || channel->fate != FATE_EOF);
  return !channel->stream || channel->closing || channel->eof_sent || failed;
}

void channel_wake_writer(struct channel *channel) {
  if (channel_write_over(channel) || channel_room(channel) == 0)
    return;
  complete(channel, &channel->write_id);
  if (channel->pump)
    pump_run(channel->pump);
  if (channel->sink && channel->sink->credit)
    channel->sink->credit(channel->sink);
}

void channel_on_credit(struct channel *channel, uint32_t bytes) {
  channel->credit += bytes;
  channel_wake_writer(channel);
}

void channel_on_fd(struct channel *channel, int fd) {
  if (!channel->sink || channel->ended)
    return;
  if (bytes_length(&channel->fds) < FDS_AHEAD * sizeof fd)
    return bytes_append(&channel->fds, &fd, sizeof fd);
  channel->sink->fault = "more fds than messages that they belong to";
  give_up(channel, -EPROTO);
}

int channel_take_fd(struct channel *channel) {
  int fd;
  if (bytes_length(&channel->fds) == 0)
    return -1;
  memcpy(&fd, bytes_head(&channel->fds), sizeof fd);
  bytes_drop(&channel->fds, sizeof fd);
  return fd;
}

void channel_adopt(struct channel *channel, struct sink *sink) {
  size_t length = bytes_length(&channel->in);
  channel->sink = sink;
  int error = length > 0 ? sink->data(sink, bytes_head(&channel->in), length) : 0;
  bytes_drop(&channel->in, length);
  channel_took(channel, length);
  if (channel->sink && channel->ended)
    channel->sink->end(channel->sink, error ? FATE_LOST : channel->fate, error ? -error : channel->error);
  else if (error)
    give_up(channel, error);
}

size_t channel_room(const struct channel *channel) {
  if (!channel->stream)
    return 0;
  size_t room = stream_room(channel->stream);
  return channel->credit < room ? channel->credit : room;
}

long channel_write(struct channel *channel, const char *data, size_t length) {
  if (channel_write_over(channel))
    return -EPIPE;
  size_t room = channel_room(channel);
  if (length > room)
    length = room;
  if (length > 0)
    stream_data(channel->stream, channel->number, data, length);
  channel->credit -= length;
  return (long)length;
}

long channel_write_from(struct channel *channel, int fd, size_t most) {
  long count = stream_data_from(channel->stream, channel->number, fd, most);
  if (count > 0)
    channel->credit -= (uint64_t)count;
  return count;
}

void channel_close(struct channel *channel) {
  if (channel->closing || !channel->stream)
    return;
  channel->closing = 1;
  if (channel->pump)
    pump_stop(channel->pump);
  struct sink *root = channel->stream->root;
  if (channel->stream->state == STREAM_ENDED)
    return;
  if (root)
    root->credit(root); /* what was asked of the root before goes before: its ATTACH may be among that */
  stream_frame(channel->stream, channel->number, AFAR_CLOSE, 0);
  complete(channel, &channel->read_id);
  complete(channel, &channel->write_id);
}

/* ---- methods ---- */

struct channel *channel_check(lua_State *L, int index) {
  return *(struct channel **)luaL_checkudata(L, index, TYPE);
}

static int l_number(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)channel_check(L, 1)->number);
  return 1;
}

/* read([max]) -> string | nil: nothing yet | false, errno: end (errno 0: a proper end) */
static int l_read(lua_State *L) {
  struct channel *channel = channel_check(L, 1);
  size_t length = bytes_length(&channel->in), max = (size_t)luaL_optnumber(L, 2, 1 << 30);
  if (length == 0) {
    if (!channel->ended && !channel->closing)
      return 0;
    lua_pushboolean(L, 0);
    lua_pushinteger(L, channel->error);
    return 2;
  }
  if (length > max)
    length = max;
  bulk_push(L, bytes_head(&channel->in), length);
  bytes_drop(&channel->in, length);
  channel_took(channel, length);
  return 1;
}

/* write(string[, from]) -> count | false: the other side takes no more */
static int l_write(lua_State *L) {
  struct channel *channel = channel_check(L, 1);
  size_t length, from = (size_t)luaL_optnumber(L, 3, 0);
  const char *data = luaL_checklstring(L, 2, &length);
  luaL_argcheck(L, from <= length, 3, "beyond the string's end");
  long count = channel_write(channel, data + from, length - from);
  if (count < 0)
    lua_pushboolean(L, 0);
  else
    lua_pushinteger(L, count);
  return 1;
}

/* pump(to, most) -> id, which completes with how many bytes went from here to there without passing through Lua: fewer
 * than `most` when this channel's end has come, or the other one takes no more */
static int l_pump(lua_State *L) {
  struct channel *from = channel_check(L, 1), *to = channel_check(L, 2);
  lua_Number most = luaL_checknumber(L, 3);
  luaL_argcheck(L, !from->sink && !from->pump, 1, "is in use");
  luaL_argcheck(L, from != to && !to->sink && !to->pump, 2, "is in use");
  uint64_t id = loop_id(from->loop);
  pump_start(from, to, (uint64_t)most, id);
  lua_pushnumber(L, (lua_Number)id);
  return 1;
}

/* pump_out(fd, most) -> id, which completes as that of pump(): from here into an fd of the host's, a pipe or socket,
 * which stays the caller's */
static int l_pump_out(lua_State *L) {
  struct channel *from = channel_check(L, 1);
  int fd = luaL_checkint(L, 2);
  luaL_argcheck(L, !from->sink && !from->pump, 1, "is in use");
  uint64_t id = loop_id(from->loop);
  pump_start_fd(from, NULL, fd, (uint64_t)luaL_checknumber(L, 3), id);
  lua_pushnumber(L, (lua_Number)id);
  return 1;
}

/* pump_in(fd, most) -> id: from an fd of the host's to here */
static int l_pump_in(lua_State *L) {
  struct channel *to = channel_check(L, 1);
  int fd = luaL_checkint(L, 2);
  luaL_argcheck(L, !to->sink && !to->pump, 1, "is in use");
  uint64_t id = loop_id(to->loop);
  pump_start_fd(NULL, to, fd, (uint64_t)luaL_checknumber(L, 3), id);
  lua_pushnumber(L, (lua_Number)id);
  return 1;
}

/* stop(): ends the pump of which this channel is an end; its completion comes with what was moved so far */
static int l_stop(lua_State *L) {
  struct channel *channel = channel_check(L, 1);
  if (channel->pump)
    pump_stop(channel->pump);
  return 0;
}

static int wait_for(lua_State *L, struct channel *channel, uint64_t *id, int ready) {
  if (!channel->stream || ready)
    return 0;
  if (*id)
    return luaL_error(L, "another coroutine waits for this channel already");
  *id = loop_id(channel->loop);
  lua_pushnumber(L, (lua_Number)*id);
  return 1;
}

/* wait_read() -> id | nil: something is there already */
static int l_wait_read(lua_State *L) {
  struct channel *channel = channel_check(L, 1);
  return wait_for(L, channel, &channel->read_id, channel->ended || channel->closing || bytes_length(&channel->in) > 0);
}

static int l_wait_write(lua_State *L) {
  struct channel *channel = channel_check(L, 1);
  return wait_for(L, channel, &channel->write_id, channel_write_over(channel) || channel_room(channel) > 0);
}

/* forget(): whoever waited doesn't any more (it was cancelled) */
static int l_forget(lua_State *L) {
  struct channel *channel = channel_check(L, 1);
  channel->read_id = channel->write_id = 0;
  return 0;
}

/* eof(): no more data from the host */
static int l_eof(lua_State *L) {
  struct channel *channel = channel_check(L, 1);
  if (channel->stream && !channel->eof_sent && !channel->closing)
    stream_frame(channel->stream, channel->number, AFAR_EOF, 0);
  channel->eof_sent = 1;
  return 0;
}

static int l_close(lua_State *L) {
  channel_close(channel_check(L, 1));
  return 0;
}

static int l_gc(lua_State *L) {
  struct channel **at = luaL_checkudata(L, 1, TYPE);
  if (*at && !(*at)->sink)
    channel_close(*at);
  if (*at)
    channel_unref(*at);
  *at = NULL;
  return 0;
}

static const luaL_Reg methods[] = {
    {"number", l_number},
    {"read", l_read},
    {"write", l_write},
    {"wait_read", l_wait_read},
    {"wait_write", l_wait_write},
    {"forget", l_forget},
    {"pump", l_pump},
    {"pump_out", l_pump_out},
    {"pump_in", l_pump_in},
    {"stop", l_stop},
    {"eof", l_eof},
    {"close", l_close},
    {"__gc", l_gc},
    {NULL, NULL},
};

void channel_push(lua_State *L, struct channel *channel) {
  *(struct channel **)lua_newuserdata(L, sizeof channel) = channel;
  luaL_getmetatable(L, TYPE);
  lua_setmetatable(L, -2);
}

int luaopen_afar_channel(lua_State *L) {
  luaL_newmetatable(L, TYPE);
  luaL_register(L, NULL, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  return 1;
}
