// what: a chain of asynchronous steps, each waits for the one before, and no lock
// truth: N
// expect: silent
#include <future>

#include "corpus.h"

static int after(std::shared_future<int> before) { return before.get() + 1; }

int main() {
  std::promise<int> start;
  std::shared_future<int> step = start.get_future().share();
  for (int i = 0; i < 8; ++i) step = std::async(std::launch::async, after, step).share();
  at_ms(20);
  start.set_value(0);
  return step.get() == 8 ? 0 : 1;
}
