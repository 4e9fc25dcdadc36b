#ifndef BECKON_CRDKAFKA_SHIM_H
#define BECKON_CRDKAFKA_SHIM_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#if RD_KAFKA_VERSION < 0x020002ff
#error "Beckon needs librdkafka 2.0.2 or later: apt-get install librdkafka-dev"
#endif

#endif
