// what: a transfer takes both locks with std::scoped_lock, which never waits for one while it holds the other
// truth: N
// expect: silent
#include <memory>
#include <mutex>
#include <thread>

#include "corpus.h"

struct Account {
  std::mutex lock;
  long balance = 0;
};

static void transfer(Account& from, Account& to, long amount) {
  std::scoped_lock both(from.lock, to.lock);
  from.balance -= amount;
  to.balance += amount;
}

int main() {
  auto ann = std::make_unique<Account>(), bob = std::make_unique<Account>();
  std::thread there([&] {
    for (int i = 0; i < 20; ++i) transfer(*ann, *bob, 2);
    at_ms(20);
    for (int i = 0; i < 60; ++i) transfer(*ann, *bob, 2);
  });
  std::thread back([&] {
    at_ms(10);
    for (int i = 0; i < 20; ++i) transfer(*bob, *ann, 1);
    at_ms(20);
    for (int i = 0; i < 60; ++i) transfer(*bob, *ann, 1);
  });
  there.join();
  back.join();
  return bob->balance == 80 ? 0 : 1;
}
