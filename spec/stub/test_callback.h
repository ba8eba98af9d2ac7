/* A root that stands where a program is expected: what it does is told by what the host has written into its image. */
#include <sys/un.h>

/* A copy of the stub, which shall answer at `socket_path`, at `path`. */
static void put_callback(const char *path, const char *socket_path) {
  static char image[64 * 1024];
  FILE *from = fopen(stub_path, "rb"), *to = fopen(path, "wb");
  size_t length = fread(image, 1, sizeof image, from);
  struct afar_callback *callback = memmem(image, length, AFAR_CALLBACK_SIGN, sizeof AFAR_CALLBACK_SIGN);
  CHECK(callback != NULL);
  CHECK(memmem((char *)(callback + 1), image + length - (char *)(callback + 1), AFAR_CALLBACK_SIGN, 16) == NULL);
  memcpy(callback->marker, MARKER, sizeof callback->marker);
  strcpy(callback->path, socket_path);
  fwrite(image, 1, length, to);
  fclose(from);
  fclose(to);
  chmod(path, 0700);
}

static int listen_at(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  strcpy(address.sun_path, path);
  CHECK_EQ(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  CHECK_EQ(listen(fd, 8), 0);
  return fd;
}

static void read_exactly(int fd, void *to, size_t length) {
  for (size_t have = 0; have < length;) {
    ssize_t count = read(fd, (char *)to + have, length - have);
    CHECK(count > 0);
    have += (size_t)count;
  }
}

/* Executed with arguments of which an ordinary root would make nothing. */
static pid_t call_program(const char *path, int err) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    dup2(err, 2);
    if (runner)
      execl(runner, runner, path, "-t", "x", NULL);
    execl(path, "called", "-t", "x", NULL);
    _exit(126);
  }
  return pid;
}

static int status_of_program(pid_t pid) {
  int status;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void a_called_program_says_how_it_was_called(void) {
  char dir[] = "/tmp/afar-test-XXXXXX", path[64], at[64], marker[32], argv[256] = "";
  CHECK(mkdtemp(dir) != NULL);
  snprintf(path, sizeof path, "%s/program", dir);
  snprintf(at, sizeof at, "%s/socket", dir);
  put_callback(path, at);
  int listener = listen_at(at), err[2];
  CHECK_EQ(pipe2(err, O_CLOEXEC), 0);
  pid_t pid = call_program(path, err[1]);
  close(err[1]);
  int fd = accept(listener, NULL, NULL);
  struct afar_hello hello;
  read_exactly(fd, marker, sizeof marker);
  read_exactly(fd, &hello, sizeof hello);
  CHECK(memcmp(marker, MARKER, sizeof marker) == 0);
  CHECK_EQ(hello.magic, AFAR_MAGIC);
  CHECK(hello.in_fd >= AFAR_FD_ZONE && hello.in_fd == hello.out_fd);
  for (uint32_t i = 0; i < hello.groups; i++)
    read_exactly(fd, argv, 4);
  CHECK(hello.argv_length < sizeof argv);
  read_exactly(fd, argv, hello.argv_length);
  CHECK(memmem(argv, hello.argv_length, "\0-t\0x", 6) != NULL);
  /* The one who answers goes: the caller is told. */
  close(fd);
  char said[256] = "";
  CHECK(read(err[0], said, sizeof said - 1) > 0);
  CHECK_EQ(status_of_program(pid), AFAR_CALLBACK_GONE);
  close(listener);
  unlink(at);
  /* ... and the next one, too. */
  CHECK_EQ(status_of_program(call_program(path, err[0])), AFAR_CALLBACK_GONE);
  close(err[0]);
  unlink(path);
  rmdir(dir);
}
