// What a program may say about itself to `causeway dept`. Without it, each of these is a test of a pointer that is null.
//
//   #include <causeway/dept.h>                 // C and C++; nothing to link
//
//   dept_set_name(&account->lock, "account 7");        // how this object is called in reports
//   dept_set_class(&account->lock, "accounts");        // and which others follow the same rules
//   dept_task_begin();                                 // a work item: what was waited for before has nothing to do with it
//   dept_task_end();
//   dept_might_wait(&queue->ready);                    // did not wait this time, but it could have
//   dept_event(&queue->ready);                         // what whoever waits there waits for; just before it
//
// dept_set_name and dept_set_class come after the object was initialised and before it is used.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

void causeway_dept_set_name(const void* object, const char* name) __attribute__((weak));
void causeway_dept_set_class(const void* object, const char* name) __attribute__((weak));
void causeway_dept_task(void) __attribute__((weak));
void causeway_dept_might_wait(const void* object) __attribute__((weak));
void causeway_dept_event(const void* object) __attribute__((weak));

static inline void dept_set_name(const void* object, const char* name) {
  if (causeway_dept_set_name) causeway_dept_set_name(object, name);
}

static inline void dept_set_class(const void* object, const char* name) {
  if (causeway_dept_set_class) causeway_dept_set_class(object, name);
}

static inline void dept_task_begin(void) {
  if (causeway_dept_task) causeway_dept_task();
}

static inline void dept_task_end(void) {
  if (causeway_dept_task) causeway_dept_task();
}

static inline void dept_might_wait(const void* object) {
  if (causeway_dept_might_wait) causeway_dept_might_wait(object);
}

static inline void dept_event(const void* object) {
  if (causeway_dept_event) causeway_dept_event(object);
}

#ifdef __cplusplus
}
#endif
