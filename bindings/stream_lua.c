/* What Lua sees of streams. */
#include <errno.h>
#include <lauxlib.h>

#include "bindings.h"
#include "stream.h"

#define TYPE "afar.stream"

struct stream *stream_check(lua_State *L, int index) {
  return luaL_checkudata(L, index, TYPE);
}

static struct stream *stream_push(lua_State *L, int marker) {
  size_t length;
  const char *text = luaL_checklstring(L, marker, &length);
  luaL_argcheck(L, length == MARKER_LENGTH, marker, "the marker has 32 characters");
  struct stream *stream = lua_newuserdata(L, sizeof *stream);
  stream_init(stream, loop_of(L), text);
  luaL_getmetatable(L, TYPE);
  lua_setmetatable(L, -2);
  return stream;
}

/* open(in, out, marker): takes both fds (numbers of the host's, may be equal) over */
static int l_open(lua_State *L) {
  int in = luaL_checkint(L, 1), out = luaL_checkint(L, 2);
  stream_over_fds(stream_push(L, 3), in, out);
  return 1;
}

/* over(channel, marker): a stream inside a channel of another; takes the channel over */
static int l_over(lua_State *L) {
  struct channel *channel = channel_check(L, 1);
  luaL_argcheck(L, channel->stream && !channel->sink, 1, "the channel has ended or is in use");
  stream_over_channel(stream_push(L, 2), channel);
  return 1;
}

/* channel(to_host, from_host, most) -> channel. The first credits; most: up to which the one to the host may grow,
 * where the way is long and the script takes all at once (default: it doesn't) */
static int l_channel(lua_State *L) {
  struct stream *stream = stream_check(L, 1);
  uint32_t to_host = (uint32_t)luaL_optnumber(L, 2, CHANNEL_WINDOW),
           from_host = (uint32_t)luaL_optnumber(L, 3, CHANNEL_WINDOW);
  uint32_t most = (uint32_t)luaL_optnumber(L, 4, to_host);
  luaL_argcheck(L, to_host <= WINDOW_MAX && most <= WINDOW_MAX, 2, "larger than a frame can give credit for");
  if (stream->state != STREAM_OPEN)
    return luaL_error(L, "the stream has ended");
  struct channel *channel = stream_channel(stream, to_host, from_host, most);
  if (!channel)
    return luaL_error(L, "a stream carries %d channels at most", AFAR_CHANNELS_MAX - 1);
  channel_push(L, channel);
  return 1;
}

static int wait_id(lua_State *L, struct stream *stream, uint64_t *id, int ready) {
  if (ready || stream->state == STREAM_ENDED)
    return 0;
  if (!*id)
    *id = loop_id(stream->loop);
  lua_pushnumber(L, (lua_Number)*id);
  return 1;
}

/* wait_open() -> id | nil: it is open, or has ended */
static int l_wait_open(lua_State *L) {
  struct stream *stream = stream_check(L, 1);
  return wait_id(L, stream, &stream->open_id, stream->state == STREAM_OPEN);
}

static int l_wait_end(lua_State *L) {
  struct stream *stream = stream_check(L, 1);
  return wait_id(L, stream, &stream->end_id, 0);
}

/* wait_noise() -> id | nil: completes when more bytes came, the hello included */
static int l_wait_noise(lua_State *L) {
  struct stream *stream = stream_check(L, 1);
  return wait_id(L, stream, &stream->noise_id, stream->state != STREAM_NOISE);
}

/* noise() -> the last of the bytes before the marker, how many there were before these */
static int l_noise(lua_State *L) {
  struct stream *stream = stream_check(L, 1);
  lua_pushlstring(L, bytes_head(&stream->noise), bytes_length(&stream->noise));
  lua_pushnumber(L, (lua_Number)stream->noise_dropped);
  return 2;
}

/* hello() -> the bytes of the hello, struct first */
static int l_hello(lua_State *L) {
  struct stream *stream = stream_check(L, 1);
  lua_pushlstring(L, bytes_head(&stream->hello), bytes_length(&stream->hello));
  return 1;
}

/* raw(string): bytes for who reads before there is a root: the bootstrap's script */
static int l_raw(lua_State *L) {
  struct stream *stream = stream_check(L, 1);
  size_t length;
  const char *data = luaL_checklstring(L, 2, &length);
  stream_raw(stream, data, length);
  return 0;
}

/* state() -> "noise" | "hello" | "open" | "ended"[, errno[, reason]] */
static int l_state(lua_State *L) {
  static const char *const names[] = {"noise", "hello", "open", "ended"};
  struct stream *stream = stream_check(L, 1);
  lua_pushstring(L, names[stream->state]);
  lua_pushinteger(L, stream->error);
  lua_pushstring(L, stream->reason);
  return 3;
}

/* send_fd(fd) -> id, which completes with the fd's number in the root. Takes the fd over. Only over a unix socket. */
static int l_send_fd(lua_State *L) {
  struct stream *stream = stream_check(L, 1);
  uint64_t id = stream_send_fd(stream, luaL_checkint(L, 2));
  if (id == 0)
    return 0;
  lua_pushnumber(L, (lua_Number)id);
  return 1;
}

/* ping() -> pings not answered so far */
static int l_ping(lua_State *L) {
  struct stream *stream = stream_check(L, 1);
  lua_pushinteger(L, (lua_Integer)stream->pings++);
  stream_frame(stream, 0, AFAR_PING, 0);
  return 1;
}

/* received() -> bytes in all */
static int l_received(lua_State *L) {
  lua_pushnumber(L, (lua_Number)stream_check(L, 1)->received);
  return 1;
}

/* close([reason]): ends it now; with a reason it counts as lost (ETIMEDOUT) */
static int l_close(lua_State *L) {
  struct stream *stream = stream_check(L, 1);
  stream_flush(stream);
  stream_end(stream, lua_toboolean(L, 2) ? ETIMEDOUT : 0, NULL);
  return 0;
}

static int l_gc(lua_State *L) {
  stream_free(stream_check(L, 1));
  return 0;
}

static const luaL_Reg methods[] = {
    {"channel", l_channel},   {"wait_open", l_wait_open},
    {"wait_end", l_wait_end}, {"wait_noise", l_wait_noise},
    {"noise", l_noise},       {"hello", l_hello},
    {"raw", l_raw},           {"state", l_state},
    {"send_fd", l_send_fd},   {"ping", l_ping},
    {"received", l_received}, {"close", l_close},
    {"__gc", l_gc},           {NULL, NULL},
};

static const luaL_Reg functions[] = {{"open", l_open}, {"over", l_over}, {NULL, NULL}};

int luaopen_afar_stream(lua_State *L) {
  luaL_newmetatable(L, TYPE);
  luaL_register(L, NULL, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  return 1;
}
