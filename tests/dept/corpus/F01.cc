// what: two ask, two answer from one queue; one asker holds `session`, one answerer takes it first: if those two meet, neither goes on
// truth: D
// expect: likely hops=2 names=session
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include "corpus.h"

static std::mutex session;
static std::mutex queue_lock;
static std::deque<std::promise<int>> questions;

static int ask() {
  std::future<int> answer;
  {
    std::lock_guard hold(queue_lock);
    answer = questions.emplace_back().get_future();
  }
  return answer.get();
}

static bool take_question(std::promise<int>* question) {
  std::lock_guard hold(queue_lock);
  if (questions.empty()) return false;
  *question = std::move(questions.front());
  questions.pop_front();
  return true;
}

static void answer_one(bool look_at_session) {
  std::promise<int> question;
  while (!take_question(&question)) for_ms(1);
  if (look_at_session) std::lock_guard hold(session);
  question.set_value(42);
}

static void client(bool in_session) {
  at_ms(in_session ? 60 : 0);
  std::unique_lock hold(session, std::defer_lock);
  if (in_session) hold.lock();
  ask();
}

static void server(bool look_at_session) {
  at_ms(look_at_session ? 30 : 90);
  answer_one(look_at_session);
}

int main() {
  std::thread threads[] = {std::thread(client, false), std::thread(client, true), std::thread(server, true),
                           std::thread(server, false)};
  for (std::thread& thread : threads) thread.join();
  return 0;
}
