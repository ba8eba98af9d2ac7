/* What the stub writes must be well-formed, whatever it was sent. */
#ifndef FUZZ_OUTPUT_H
#define FUZZ_OUTPUT_H

static struct {
  int framed, unchecked;
  uint32_t have, left, reply_have, reply_left; /* bytes of what is arriving, and of what follows it */
  uint8_t frame[8], reply[16];
  uint64_t replies, frames; /* in all */
} output;

static void output_begin(int framed) {
  output.framed = framed;
  output.unchecked = 0;
  output.have = output.left = output.reply_have = output.reply_left = 0;
}

_Noreturn static void bug(const char *what) {
  fprintf(stderr, "stub_fuzz: %s\n", what);
  abort();
}

#define EXPECT(condition)                                                                                              \
  do {                                                                                                                 \
    if (!(condition))                                                                                                  \
      bug(#condition);                                                                                                 \
  } while (0)

static void on_reply_byte(uint8_t byte) {
  if (output.reply_left > 0) {
    output.reply_left--;
    return;
  }
  output.reply[output.reply_have++] = byte;
  if (output.reply_have < sizeof output.reply)
    return;
  struct afar_reply reply;
  memcpy(&reply, output.reply, sizeof reply);
  EXPECT(reply.length <= READ_MAX && (reply.length == 0 || reply.result == reply.length));
  output.reply_left = reply.length;
  output.reply_have = 0;
  output.replies++;
}

static void on_frame_header(void) {
  struct afar_frame frame;
  memcpy(&frame, output.frame, sizeof frame);
  uint32_t type = frame.word >> 24, value = frame.word & 0xffffff;
  EXPECT((type <= AFAR_FD && type != AFAR_PING) || type == AFAR_BELL);
  EXPECT(type != AFAR_DATA || (value > 0 && value <= AFAR_FRAME_MAX));
  EXPECT(type != AFAR_CREDIT || (value > 0 && frame.channel > 0));
  EXPECT((type != AFAR_PONG && type != AFAR_BELL) || frame.channel == 0);
  output.left = type == AFAR_DATA ? value : 0;
  output.have = 0;
  output.frames++;
}

static void on_output(const uint8_t *bytes, size_t length) {
  while (length > 0 && !output.unchecked) {
    size_t part = 1;
    uint32_t channel;
    memcpy(&channel, output.frame, 4);
    if (!output.framed) {
      on_reply_byte(*bytes);
    } else if (output.left == 0) {
      output.frame[output.have++] = *bytes;
      if (output.have == sizeof output.frame)
        on_frame_header();
    } else {
      part = channel == 0 ? 1 : output.left < length ? output.left : length;
      if (channel == 0)
        on_reply_byte(*bytes);
      output.left -= (uint32_t)part;
    }
    bytes += part;
    length -= part;
  }
}

#endif
