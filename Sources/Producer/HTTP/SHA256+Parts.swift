import Crypto

extension SHA256 {
    /// The hash over the parts, each preceded by its length (64 bits, little-endian). The store keeps these hashes for
    /// up to a day, so another form would not recognise the requests of the version before.
    static func hash(parts: [[UInt8]]) -> [UInt8] {
        var hash = SHA256()
        for part in parts {
            Swift.withUnsafeBytes(of: UInt64(part.count).littleEndian) { hash.update(bufferPointer: $0) }
            hash.update(data: part)
        }
        return Array(hash.finalize())
    }
}
