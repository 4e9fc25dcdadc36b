/// The partitioner of Java clients, `murmur2_random` in librdkafka for records with a key.
public enum Murmur2 {
    /// The partition of a non-empty key.
    public static func partition(key: [UInt8], partitions: Int) -> Int32 {
        Int32(bitPattern: hash(key) & 0x7fff_ffff) % Int32(partitions)
    }

    /// Austin Appleby's MurmurHash2, 32 bits, seed 0x9747b28c, as Kafka's `Utils.murmur2`.
    public static func hash(_ data: [UInt8]) -> UInt32 {
        let m: UInt32 = 0x5bd1_e995
        var h = 0x9747_b28c ^ UInt32(truncatingIfNeeded: data.count)
        var index = 0
        while index + 4 <= data.count {
            var k = UInt32(data[index]) | UInt32(data[index + 1]) << 8 | UInt32(data[index + 2]) << 16
            k |= UInt32(data[index + 3]) << 24
            k = k &* m
            k ^= k >> 24
            k = k &* m
            h = (h &* m) ^ k
            index += 4
        }
        let rest = data.count - index
        if rest >= 3 { h ^= UInt32(data[index + 2]) << 16 }
        if rest >= 2 { h ^= UInt32(data[index + 1]) << 8 }
        if rest >= 1 {
            h ^= UInt32(data[index])
            h = h &* m
        }
        h ^= h >> 13
        h = h &* m
        h ^= h >> 15
        return h
    }
}
