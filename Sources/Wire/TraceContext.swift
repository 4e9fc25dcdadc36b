/// The place of a piece of work in a trace: the headers `traceparent` and `tracestate` of W3C Trace Context, level 2.
///
/// Beckon stores and hands on a context as one text (``text``): the `traceparent`, and after a space the `tracestate`
/// when there is one.
package struct TraceContext: Hashable, Sendable {
    /// 16 bytes, not all zero.
    package struct TraceID: Hashable, Sendable {
        package let high: UInt64
        package let low: UInt64

        package init(high: UInt64, low: UInt64) {
            self.high = high
            self.low = low
        }

        /// 32 hexadecimal digits in lower case.
        package var text: String { Hexadecimal.encode(high, digits: 16) + Hexadecimal.encode(low, digits: 16) }
    }

    package let traceID: TraceID
    /// The span that the next span follows; not 0.
    package let spanID: UInt64
    /// The bits that level 2 defines: ``sampled`` and ``random``.
    package let flags: UInt8
    /// The `tracestate`; empty when there is none.
    package var state: String

    /// The caller records this trace.
    package static let sampled: UInt8 = 1
    /// At least 7 bytes of the trace id are random.
    package static let random: UInt8 = 2
    /// Length of a `traceparent` of version 00.
    private static let length = 55

    package init(traceID: TraceID, spanID: UInt64, flags: UInt8, state: String = "") {
        self.traceID = traceID
        self.spanID = spanID
        self.flags = flags & (Self.sampled | Self.random)
        self.state = state
    }

    /// Reads the headers of a request or record. A fault of the `tracestate` only drops the `tracestate`.
    /// - Returns: nil when there is no valid `traceparent`: then the `tracestate` means nothing either.
    package init?(traceparent: String?, tracestate: [String] = []) {
        guard let traceparent else { return nil }
        var parent = traceparent
        guard let read = parent.withUTF8({ Self.read($0) }) else { return nil }
        self = read
        state = tracestate.isEmpty ? "" : TraceState.text(of: tracestate)
    }

    /// Reads ``text``.
    package init?(text: String?) {
        guard let text else { return nil }
        guard let space = text.utf8.firstIndex(of: UInt8(ascii: " ")) else {
            self.init(traceparent: text)
            return
        }
        self.init(
            traceparent: String(text[..<space]), tracestate: [String(text[text.utf8.index(after: space)...])])
    }

    package var isSampled: Bool { flags & Self.sampled != 0 }

    /// The header `traceparent`, of version 00.
    package var traceparent: String {
        "00-\(traceID.text)-\(Hexadecimal.encode(spanID, digits: 16))-\(Hexadecimal.encode(flags, digits: 2))"
    }

    /// The form in which Beckon stores a context and hands it on.
    package var text: String { state.isEmpty ? traceparent : traceparent + " " + state }

    /// Whether ``text`` has the flag `sampled`. It allocates nothing and does not check the rest of the text.
    package static func isSampled(_ text: String) -> Bool {
        let bytes = text.utf8
        guard bytes.count >= length,
            let digit = Hexadecimal.value(of: bytes[bytes.index(bytes.startIndex, offsetBy: 54)])
        else { return false }
        return digit & sampled != 0
    }

    /// The `traceparent` and the `tracestate` of ``text``, without a check.
    package static func split(_ text: String) -> (traceparent: String, tracestate: String?) {
        guard let space = text.utf8.firstIndex(of: UInt8(ascii: " ")) else { return (text, nil) }
        return (String(text[..<space]), String(text[text.utf8.index(after: space)...]))
    }

    /// The 32 digits of the trace id in ``text``; nil when the text is too short.
    package static func traceID(of text: String?) -> Substring? {
        guard let text, text.utf8.count >= length else { return nil }
        let start = text.utf8.index(text.startIndex, offsetBy: 3)
        return text[start..<text.utf8.index(start, offsetBy: 32)]
    }

    /// Reads `00-<trace id>-<span id>-<flags>`. Of a higher version, only these four fields are read (section 3.2.4 of
    /// the recommendation).
    private static func read(_ bytes: UnsafeBufferPointer<UInt8>) -> TraceContext? {
        let dash = UInt8(ascii: "-")
        guard bytes.count >= length, bytes[2] == dash, bytes[35] == dash, bytes[52] == dash,
            let version = number(bytes[0..<2]), version != 0xff,
            bytes.count == length || version != 0 && bytes[length] == dash,
            let high = number(bytes[3..<19]), let low = number(bytes[19..<35]), high != 0 || low != 0,
            let span = number(bytes[36..<52]), span != 0, let flags = number(bytes[53..<55])
        else { return nil }
        return TraceContext(
            traceID: TraceID(high: high, low: low), spanID: span, flags: UInt8(truncatingIfNeeded: flags))
    }

    /// The value of hexadecimal digits in lower case; capital digits are not allowed.
    private static func number(_ digits: Slice<UnsafeBufferPointer<UInt8>>) -> UInt64? {
        var number: UInt64 = 0
        for digit in digits {
            switch digit {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): number = number << 4 | UInt64(digit - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): number = number << 4 | UInt64(digit - UInt8(ascii: "a") + 10)
            default: return nil
            }
        }
        return number
    }
}

/// The header `tracestate`: a list of `key=value`, whose contents belong to the tracing systems of the caller. Beckon
/// adds no member and passes the list on.
package enum TraceState {
    /// Maximum number of members (section 3.3.1.1). A longer list is invalid.
    private static let mostMembers = 32
    /// The length up to which the list is passed on.
    package static let longest = 512
    /// Members longer than this are the first to be cut (section 3.3.1.5).
    private static let longMember = 128

    /// The list as one text, at most ``longest`` characters long. Whole members are cut: first those with more than 128
    /// characters, then those at the end.
    /// - Parameter headers: the values of all headers `tracestate`, in order.
    /// - Returns: an empty text for an invalid list.
    package static func text(of headers: [String]) -> String {
        var members: [Substring.UTF8View] = []
        var keys: Set<String> = []
        for header in headers {
            for part in header.utf8.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: true) {
                let member = trimmed(part)
                guard !member.isEmpty else { continue }
                guard members.count < mostMembers, let key = key(of: member), keys.insert(key).inserted else {
                    return ""
                }
                members.append(member)
            }
        }
        func length() -> Int { members.reduce(members.count - 1) { $0 + $1.count } }
        while length() > longest, let long = members.lastIndex(where: { $0.count > longMember }) {
            members.remove(at: long)
        }
        while !members.isEmpty, length() > longest { members.removeLast() }
        return members.map { String(Substring($0)) }.joined(separator: ",")
    }

    /// The key of a valid member; nil for an invalid one.
    private static func key(of member: Substring.UTF8View) -> String? {
        guard let equals = member.firstIndex(of: UInt8(ascii: "=")) else { return nil }
        let key = member[..<equals]
        let value = member[member.index(after: equals)...]
        guard (1...256).contains(key.count), key.allSatisfy(isOfKey), key.first.map(isFirstOfKey) == true,
            value.count <= 256, value.allSatisfy(isOfValue), value.last != UInt8(ascii: " ")
        else { return nil }
        return String(Substring(key))
    }

    private static func isFirstOfKey(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: false
        }
    }

    private static func isOfKey(_ byte: UInt8) -> Bool {
        isFirstOfKey(byte) || "_-*/@".utf8.contains(byte)
    }

    private static func isOfValue(_ byte: UInt8) -> Bool {
        (0x20...0x7e).contains(byte) && byte != UInt8(ascii: ",") && byte != UInt8(ascii: "=")
    }

    /// Without the spaces and tabs at both ends.
    private static func trimmed(_ text: Substring.UTF8View) -> Substring.UTF8View {
        var text = text
        func isBlank(_ byte: UInt8?) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        while isBlank(text.first) { text.removeFirst() }
        while isBlank(text.last) { text.removeLast() }
        return text
    }
}
