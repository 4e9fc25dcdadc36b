import CNghttp2
import PushProviders

extension nghttp2_nv {
    /// A field whose name and value stay where they are while the request lives.
    init(_ name: PushRequest.FieldName, _ value: UnsafeMutablePointer<UInt8>, _ length: Int) {
        var flags = UInt8(NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue)
        if name.isNeverIndexed { flags |= UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue) }
        self.init(
            name: UnsafeMutablePointer(mutating: name.start), value: value, namelen: name.count, valuelen: length,
            flags: flags)
    }
}
