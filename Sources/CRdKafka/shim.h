#ifndef BECKON_CRDKAFKA_SHIM_H
#define BECKON_CRDKAFKA_SHIM_H

#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#if RD_KAFKA_VERSION < 0x020002ff
#error "Beckon needs librdkafka 2.0.2 or later: apt-get install librdkafka-dev"
#endif

/* The union of rd_kafka_vu_t has no initialiser that Swift can call. Key and value are copied. On success librdkafka owns
   the headers; on failure they are still the caller's. timestamp_ms 0: now. */
static inline rd_kafka_resp_err_t beckon_produce(rd_kafka_t *rk, const char *topic, int32_t partition, const void *key,
                                                 size_t key_size, const void *value, size_t value_size,
                                                 rd_kafka_headers_t *headers, int64_t timestamp_ms, void *opaque) {
    rd_kafka_vu_t vus[8];
    size_t count = 0;
    vus[count].vtype = RD_KAFKA_VTYPE_TOPIC;
    vus[count++].u.cstr = topic;
    vus[count].vtype = RD_KAFKA_VTYPE_PARTITION;
    vus[count++].u.i32 = partition;
    vus[count].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
    vus[count++].u.i = RD_KAFKA_MSG_F_COPY;
    vus[count].vtype = RD_KAFKA_VTYPE_KEY;
    vus[count].u.mem.ptr = (void *)key;
    vus[count++].u.mem.size = key_size;
    vus[count].vtype = RD_KAFKA_VTYPE_VALUE;
    vus[count].u.mem.ptr = (void *)value;
    vus[count++].u.mem.size = value_size;
    vus[count].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
    vus[count++].u.i64 = timestamp_ms;
    vus[count].vtype = RD_KAFKA_VTYPE_OPAQUE;
    vus[count++].u.ptr = opaque;
    if (headers) {
        vus[count].vtype = RD_KAFKA_VTYPE_HEADERS;
        vus[count++].u.headers = headers;
    }
    rd_kafka_error_t *error = rd_kafka_produceva(rk, vus, count);
    rd_kafka_resp_err_t code = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;
    if (error) rd_kafka_error_destroy(error);
    return code;
}

/* The metadata of a commit is freed by librdkafka with free(3). */
static inline void beckon_set_metadata(rd_kafka_topic_partition_t *partition, const void *bytes, size_t size) {
    if (size == 0) return;
    partition->metadata = malloc(size);
    memcpy(partition->metadata, bytes, size);
    partition->metadata_size = size;
}

#endif
