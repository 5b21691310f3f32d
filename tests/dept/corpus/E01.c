// what: two peers exchange long messages over two pipes; who finds something to read reads first, else it writes all of its own: if both
// find nothing, both pipes are full
// truth: D
// expect: possible
// level: possible
#include <poll.h>
#include <unistd.h>

#include "corpus.h"

enum { kLong = 100000 };
static int there[2], back[2];

static void write_all(int fd) {
  static char zeros[kLong];
  for (size_t left = kLong; left > 0;) {
    ssize_t done = write(fd, zeros, left);
    if (done > 0) left -= (size_t)done;
  }
}

static void read_all(int fd) {
  char buffer[4096];
  for (size_t left = kLong; left > 0;) {
    ssize_t done = read(fd, buffer, left < sizeof buffer ? left : sizeof buffer);
    if (done > 0) left -= (size_t)done;
  }
}

static void exchange(int in, int out) {
  struct pollfd waiting = {.fd = in, .events = POLLIN};
  int read_first = poll(&waiting, 1, 0) == 1;
  if (read_first) read_all(in);
  write_all(out);
  for_ms(10);
  if (!read_first) read_all(in);
}

static void *left(void *arg) {
  exchange(back[0], there[1]);
  at_ms(75);
  exchange(back[0], there[1]);
  return arg;
}

static void *right(void *arg) {
  at_ms(25);
  exchange(there[0], back[1]);
  at_ms(50);
  exchange(there[0], back[1]);
  return arg;
}

int main(void) {
  if (pipe(there) != 0 || pipe(back) != 0) return 2;
  RUN_TOGETHER(left, right);
  return 0;
}
