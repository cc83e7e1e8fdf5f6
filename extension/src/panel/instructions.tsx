/** The field for standing instructions in the settings editor; it grows with its text. */
import { IFormRenderer } from '@jupyterlab/ui-components';
import React, { useLayoutEffect, useRef } from 'react';

type FieldProps = React.ComponentProps<
  NonNullable<IFormRenderer['fieldRenderer']>
>;

export function Instructions(props: FieldProps): JSX.Element {
  const area = useRef<HTMLTextAreaElement>(null);
  const { schema } = props;
  const text = String(props.formData ?? '');
  useLayoutEffect(() => {
    const node = area.current!;
    node.style.height = 'auto';
    node.style.height = `${node.scrollHeight + 2}px`;
  }, [text]);
  // the settings editor does not add a title to custom fields
  return (
    <>
      <h3 className="jp-FormGroup-fieldLabel">{schema.title}</h3>
      <textarea
        ref={area}
        id={props.idSchema.$id}
        className="form-control jp-MistralInstructions"
        dir="auto"
        rows={3}
        aria-label={schema.title}
        maxLength={schema.maxLength}
        value={text}
        onChange={event => props.onChange(event.target.value)}
      />
    </>
  );
}
