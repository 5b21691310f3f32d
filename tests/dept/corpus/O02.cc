// what: two function-local statics that ask for each other while they are made: two threads that begin with different ones wait for
// each other (the first to be made fails here the first time, so that one run sees both orders)
// truth: D
// expect: likely hops=2
#include <atomic>
#include <stdexcept>
#include <thread>

#include "corpus.h"

struct Config;
struct Log;
Config& config(bool verbose);
Log& log_file();

static std::atomic<int> attempts;

struct Log {
  Log() {
    if (attempts++ == 0) throw std::runtime_error("disk is not there yet");
    config(false);
  }
};

struct Config {
  explicit Config(bool verbose) {
    if (verbose) log_file();
  }
};

Config& config(bool verbose) {
  static Config made(verbose);
  return made;
}

Log& log_file() {
  static Log made;
  return made;
}

static void until_it_works(void (*make)()) {
  for (;;) {
    try {
      return make();
    } catch (const std::runtime_error&) {
      at_ms(60);
    }
  }
}

int main() {
  std::thread server([] { until_it_works([] { config(true); }); });
  std::thread client([] {
    at_ms(30);
    until_it_works([] { log_file(); });
  });
  server.join();
  client.join();
  return attempts == 2 ? 0 : 1;
}
