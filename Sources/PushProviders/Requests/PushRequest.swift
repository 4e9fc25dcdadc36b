/// The request that a provider's folder writes: header fields and body in one block of memory at a fixed address. The
/// transport adds its own state in a subclass.
/// Fields are stored as `[name's address, 8 bytes][its length][flags][value's length, 2 bytes][value]…`. The body
/// follows them.
open class PushRequest: @unchecked Sendable {
    // Guarantee: one owner at a time. The thread that creates it hands it to a pool. After that only the pool's event
    // loop uses it, until it is handed back on that loop.

    package struct FieldName {
        package let start: UnsafePointer<UInt8>
        package let count: Int
        package let isNeverIndexed: Bool

        package init(_ name: HeaderName) {
            start = name.text.utf8Start
            count = name.text.utf8CodeUnitCount
            isNeverIndexed = name.isNeverIndexed
        }

        fileprivate init(start: UnsafePointer<UInt8>, count: Int, isNeverIndexed: Bool) {
            self.start = start
            self.count = count
            self.isNeverIndexed = isNeverIndexed
        }
    }

    private static let headSize = 12

    package private(set) final var storage: UnsafeMutablePointer<UInt8>
    private final var capacity: Int
    package private(set) final var count = 0
    package private(set) final var fieldsEnd = 0
    private final var fieldCount = 0
    /// The name, in lower case, of the answer's header field with the provider's message identifier; nil: no such
    /// field.
    package final var answerIDName: StaticString?

    /// - Parameter capacity: expected bytes of fields and body, at least 1. More are allocated when needed.
    package init(capacity: Int) {
        self.capacity = capacity
        storage = .allocate(capacity: capacity)
    }

    deinit { storage.deallocate() }

    /// Copies fields and body of another request into this one, to which nothing may have been appended.
    package final func copyText(of other: PushRequest) {
        if capacity < other.count { grow(by: other.count) }
        storage.update(from: other.storage, count: other.count)
        count = other.count
        fieldsEnd = other.fieldsEnd
        fieldCount = other.fieldCount
        answerIDName = other.answerIDName
    }

    // MARK: Writing

    /// Adds a field. Returns false and adds nothing when the value is empty or contains other characters than visible
    /// ASCII. Such a value would make the request malformed, or a different request.
    package final func field(_ name: HeaderName, _ value: String) -> Bool {
        var value = value
        let start = beginField(name)
        let isSound = value.withUTF8 { bytes in
            guard !bytes.isEmpty, bytes.count <= 4096, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
                return false
            }
            append(bytes)
            return true
        }
        guard isSound else {
            count = start
            return false
        }
        endField(at: start)
        return true
    }

    /// Starts a field. The caller appends the value and passes the result to ``endField(at:)``.
    package final func beginField(_ name: HeaderName) -> Int {
        let start = count
        if count + Self.headSize > capacity { grow(by: Self.headSize) }
        let head = UnsafeMutableRawPointer(storage + count)
        head.storeBytes(of: name.text.utf8Start, as: UnsafePointer<UInt8>.self)
        head.storeBytes(of: UInt8(truncatingIfNeeded: name.text.utf8CodeUnitCount), toByteOffset: 8, as: UInt8.self)
        head.storeBytes(of: name.isNeverIndexed ? 1 : 0, toByteOffset: 9, as: UInt8.self)
        count += Self.headSize
        return start
    }

    package final func endField(at start: Int) {
        let length = UInt16(truncatingIfNeeded: count - start - Self.headSize)
        UnsafeMutableRawPointer(storage + start).storeBytes(of: length, toByteOffset: 10, as: UInt16.self)
        fieldCount += 1
    }

    /// Ends the fields. Everything that is appended after this call is the body.
    package final func beginBody() { fieldsEnd = count }

    /// Removes everything that was appended after the first `count` bytes.
    package final func truncate(to count: Int) { self.count = count }

    package final func append(_ byte: UInt8) {
        if count == capacity { grow(by: 1) }
        storage[count] = byte
        count += 1
    }

    package final func append(_ bytes: UnsafeBufferPointer<UInt8>) {
        guard let start = bytes.baseAddress else { return }
        if count + bytes.count > capacity { grow(by: bytes.count) }
        (storage + count).update(from: start, count: bytes.count)
        count += bytes.count
    }

    package final func append(_ text: StaticString) {
        append(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    private final func grow(by more: Int) {
        let wider = max(capacity * 2, count + more)
        let moved = UnsafeMutablePointer<UInt8>.allocate(capacity: wider)
        moved.update(from: storage, count: count)
        storage.deallocate()
        storage = moved
        capacity = wider
    }

    // MARK: Reading

    package final var bodyCount: Int { count - fieldsEnd }
    package final var body: UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(start: storage + fieldsEnd, count: bodyCount)
    }

    /// Calls `body` with each field in order. The value stays at its address for the life of the request.
    package final func forEachField(
        _ body: (_ name: FieldName, _ value: UnsafeMutablePointer<UInt8>, _ count: Int) -> Void
    ) {
        var offset = 0
        for _ in 0..<fieldCount {
            let head = UnsafeRawPointer(storage + offset)
            let name = FieldName(
                start: head.loadUnaligned(as: UnsafePointer<UInt8>.self),
                count: Int(head.loadUnaligned(fromByteOffset: 8, as: UInt8.self)),
                isNeverIndexed: head.loadUnaligned(fromByteOffset: 9, as: UInt8.self) != 0)
            let length = Int(head.loadUnaligned(fromByteOffset: 10, as: UInt16.self))
            body(name, storage + offset + Self.headSize, length)
            offset += Self.headSize + length
        }
    }

    /// Names and values without the authorization, for tests and logs.
    package final var fields: [String: String] {
        var result: [String: String] = [:]
        forEachField { name, value, count in
            let text = String(decoding: UnsafeBufferPointer(start: name.start, count: name.count), as: UTF8.self)
            result[text] = String(decoding: UnsafeBufferPointer(start: value, count: count), as: UTF8.self)
        }
        return result
    }
}
