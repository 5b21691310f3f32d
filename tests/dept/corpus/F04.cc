// what: two ask and two answer, told by a latch of each question; one asker holds `session`, one answerer takes it first: if those two
// meet, neither goes on
// truth: D
// expect: likely hops=2 names=session
#include <deque>
#include <latch>
#include <mutex>
#include <thread>

#include "corpus.h"

struct Question {
  std::latch answered{1};
  int answer = 0;
};

static std::mutex session;
static std::mutex queue_lock;
static std::deque<Question*> questions;

static int ask() {
  Question question;
  {
    std::lock_guard hold(queue_lock);
    questions.push_back(&question);
  }
  question.answered.wait();
  return question.answer;
}

static Question* take_question() {
  std::lock_guard hold(queue_lock);
  if (questions.empty()) return nullptr;
  Question* first = questions.front();
  questions.pop_front();
  return first;
}

static void answer_one(bool look_at_session) {
  Question* question;
  while (!(question = take_question())) for_ms(1);
  if (look_at_session) std::lock_guard hold(session);
  question->answer = 42;
  question->answered.count_down();
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
