#include "bindings.h"

#include <stddef.h>

const struct afar_binding afar_bindings[] = {
    {"afar.loop", luaopen_afar_loop},         {"afar.stream", luaopen_afar_stream},
    {"afar.channel", luaopen_afar_channel},   {"afar.task", luaopen_afar_task},
    {"afar.heap", luaopen_afar_heap},         {"afar.spawn", luaopen_afar_spawn},
    {"afar.hello", luaopen_afar_hello},       {"afar.arena", luaopen_afar_arena},
    {"afar.greeting", luaopen_afar_greeting}, {NULL, NULL},
};
