import ChallengeModel
import Wire

/// Reads a record of an entrance, which any client with write access can create. JSON is checked as strictly as over
/// HTTP before the protobuf mapping reads it.
enum OutsideRecord {
    /// - Parameter maps: fields, by their names in the `.proto` file, whose members are data and not fields.
    /// - Throws: ``RecordFormatError``; `json` also for JSON that contains a field twice, for example as `request_id`
    ///   and as `requestId`.
    static func read<Value: RecordValue>(
        _ value: [UInt8], contentType: String?, maps: Set<String> = []
    ) throws(RecordFormatError) -> Value {
        if try ContentType(ofRecord: value, header: contentType) == .json {
            let parsed: JSONValue
            do { parsed = try JSONParser.parse(value) } catch {
                throw RecordFormatError(
                    reason: "json", "the value is no JSON that is taken: \(error.reason), at byte \(error.offset)")
            }
            try refuseDoubles(in: parsed, maps: maps)
        }
        return try Value(value: value, contentType: contentType)
    }

    /// Refuses JSON that contains a field under both of its names. The JSON mapping accepts the declared name and camel
    /// case, so the parser does not see the duplicate.
    private static func refuseDoubles(in value: JSONValue, maps: Set<String>) throws(RecordFormatError) {
        switch value {
        case .array(let values): for value in values { try refuseDoubles(in: value, maps: maps) }
        case .object(let members):
            var names: Set<String> = []
            for (name, value) in members {
                let field = declared(name)
                guard names.insert(field).inserted else {
                    throw RecordFormatError(reason: "json", "\(field.prefix(40)): expected once, it stands twice")
                }
                if !maps.contains(field) { try refuseDoubles(in: value, maps: maps) }
            }
        default: break
        }
    }

    /// `requestId` as `request_id`.
    private static func declared(_ name: String) -> String {
        String(
            decoding: name.utf8.flatMap { byte -> [UInt8] in
                (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? [UInt8(ascii: "_"), byte | 0x20] : [byte]
            }, as: UTF8.self)
    }
}
