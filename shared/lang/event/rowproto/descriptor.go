package rowproto

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Files are the .proto files of a descriptor set.
type Files struct{ files *protoregistry.Files }

const howToWrite = "write it with `protoc --include_imports --descriptor_set_out=FILE …`"

// ReadFiles reads a serialized google.protobuf.FileDescriptorSet.
func ReadFiles(data []byte) (*Files, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil || len(set.File) == 0 {
		return nil, errors.New("it is no descriptor set: " + howToWrite)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, howToWrite)
	}
	return &Files{files}, nil
}

// Compact returns a descriptor set without what only people read: positions and comments.
// It returns other data unchanged.
func Compact(data []byte) []byte {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		return data
	}
	for _, f := range set.File {
		f.SourceCodeInfo = nil
	}
	small, err := proto.MarshalOptions{Deterministic: true}.Marshal(&set)
	if err != nil {
		return data
	}
	return small
}

// Messages returns the full names of all messages, sorted.
func (f *Files) Messages() []string {
	var names []string
	var add func(list protoreflect.MessageDescriptors)
	add = func(list protoreflect.MessageDescriptors) {
		for i := range list.Len() {
			if m := list.Get(i); !m.IsMapEntry() {
				names = append(names, string(m.FullName()))
				add(m.Messages())
			}
		}
	}
	f.files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		add(file.Messages())
		return true
	})
	slices.Sort(names)
	return names
}

// Message returns the message with a full name, or nil.
func (f *Files) Message(name string) protoreflect.MessageDescriptor {
	d, err := f.files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	m, _ := d.(protoreflect.MessageDescriptor)
	return m
}
