/* A bad link between two network namespaces: a TUN device at each end, and between them a delay and a loss of packets.

   bad_link DEVICE NAMESPACE DELAY_MS LOSS_PERCENT

   One end is in the namespace in which the program starts, the other in that of the file NAMESPACE; both devices have the
   name DEVICE. Each packet, in either direction, arrives after the delay or, by chance, never. The program says "ready"
   once both devices are there. SIGUSR1 cuts the link, with all that is on its way; SIGUSR2 mends it. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { ENDS = 2, ON_ITS_WAY = 1 << 16, LARGEST = 1 << 16, AT_ONCE = 256 };

struct packet {
  uint64_t due_us;
  size_t size;
  unsigned char *bytes;
};

/* What is on its way from one end to the other, in the order in which it was sent: the delay is the same for all. */
struct direction {
  struct packet packets[ON_ITS_WAY];
  unsigned first, next;
};

static struct direction directions[ENDS];
static volatile sig_atomic_t is_cut;

static void cut(int number) {
  (void)number;
  is_cut = 1;
}

static void mend(int number) {
  (void)number;
  is_cut = 0;
}

static void give_up(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static int tun(const char *name) {
  int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (device < 0) give_up("/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(device, TUNSETIFF, &request) < 0) give_up(name);
  return device;
}

static int is_lost(double loss_percent) { return rand() < loss_percent / 100 * RAND_MAX; }

/* Hand over what is due; returns when the next packet is, or UINT64_MAX. */
static uint64_t deliver(struct direction *direction, int to) {
  while (direction->first != direction->next) {
    struct packet *packet = &direction->packets[direction->first % ON_ITS_WAY];
    if (packet->due_us > now_us()) return packet->due_us;
    /* A device that is down takes none: lost as well. */
    if (!is_cut && write(to, packet->bytes, packet->size) < 0) { }
    free(packet->bytes);
    direction->first++;
  }
  return UINT64_MAX;
}

static void accept_packets(struct direction *direction, int from, uint64_t delay_us, double loss_percent) {
  static unsigned char buffer[LARGEST];
  for (int count = 0; count < AT_ONCE; count++) {
    ssize_t size = read(from, buffer, sizeof buffer);
    if (size <= 0) return;
    if (is_cut || is_lost(loss_percent) || direction->next - direction->first >= ON_ITS_WAY) continue;
    struct packet *packet = &direction->packets[direction->next % ON_ITS_WAY];
    packet->bytes = malloc((size_t)size);
    if (!packet->bytes) give_up("memory");
    memcpy(packet->bytes, buffer, (size_t)size);
    packet->size = (size_t)size;
    packet->due_us = now_us() + delay_us;
    direction->next++;
  }
}

int main(int count, char **arguments) {
  if (count != 5) {
    fprintf(stderr, "usage: bad_link DEVICE NAMESPACE DELAY_MS LOSS_PERCENT\n");
    return 2;
  }
  uint64_t delay_us = (uint64_t)(atof(arguments[3]) * 1000);
  double loss_percent = atof(arguments[4]);
  signal(SIGUSR1, cut);
  signal(SIGUSR2, mend);

  int ends[ENDS] = {tun(arguments[1])};
  int namespace = open(arguments[2], O_RDONLY | O_CLOEXEC);
  if (namespace < 0 || setns(namespace, CLONE_NEWNET) < 0) give_up(arguments[2]);
  ends[1] = tun(arguments[1]);
  puts("ready");
  fflush(stdout);

  for (;;) {
    uint64_t next_us = UINT64_MAX;
    for (int from = 0; from < ENDS; from++) {
      uint64_t due_us = deliver(&directions[from], ends[1 - from]);
      if (due_us < next_us) next_us = due_us;
    }
    struct pollfd polled[ENDS] = {{ends[0], POLLIN, 0}, {ends[1], POLLIN, 0}};
    uint64_t now = now_us(), wait_us = next_us == UINT64_MAX ? 1000000 : next_us > now ? next_us - now : 0;
    struct timespec wait = {(time_t)(wait_us / 1000000), (long)(wait_us % 1000000) * 1000};
    /* Interrupted by a signal: look again. */
    if (ppoll(polled, ENDS, &wait, NULL) < 0) continue;
    for (int from = 0; from < ENDS; from++)
      if (polled[from].revents & POLLIN) accept_packets(&directions[from], ends[from], delay_us, loss_percent);
  }
}
